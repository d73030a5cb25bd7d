"""What the learning rate of the fine-tune does: `python -m tests.training.measure_learning_rate OUTPUT SUBJECT…`.

A fine-tune of each rendered person at each rate, 1,000 steps of the miniature. Its rate is constant and its steps are a
function of the seed, so that it has passed through the fine-tunes of fewer steps: on the way, every third held-out pose
and the training frames' own poses are generated and compared with the truth. A line of JSON for each of these points.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from src.app.entry import settings_of
from src.common.paths import CONF_DIR
from src.data.subject_split import SubjectSplit, split_subject
from src.models.build import build_models
from src.models.image_model import ImageModel
from src.runs.make_run import find_subject, held_out_job
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.runs.settings import RunSettings
from src.sampling.sampler import Sampler
from src.training.fine_tune import FineTuneJob, fine_tune
from src.training.fitting import Observers
from tests.sampling.measure_presets import scores

RATES = (1e-3, 3e-3, 3e-5)
STEPS = (30, 120, 400, 1000)
EVERY = 3


class Points(Callback):
    """Generates and compares after the given steps."""

    def __init__(
        self, settings: RunSettings, split: SubjectSplit, image_model: ImageModel, output: Path, said: dict[str, Any]
    ) -> None:
        self.settings, self.split, self.image_model, self.output, self.said = settings, split, image_model, output, said

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step not in STEPS:
            return
        record = self.said | {"step": trainer.global_step, "loss": float(outputs["loss"])}
        backbone: Any = pl_module.backbone
        backbone.eval()
        person = Person(self.settings, self.split.training, RunFolder(self.output), (self.image_model, backbone))
        whole = held_out_job(person, self.split)
        for name, poses, truth_FHWC in (
            ("held out", whole.target_poses[::EVERY], self.split.test_frames[::EVERY]),
            ("own poses", self.split.training.poses, self.split.training.frames),
        ):
            job = replace(whole, target_poses=poses)
            with torch.no_grad(), torch.random.fork_rng(), trainer.precision_plugin.predict_step_context():
                frames_FHWC = Sampler(self.image_model, backbone, [job]).predict_step(0, 0)
            record[name] = scores(frames_FHWC, truth_FHWC, job)
        backbone.train()
        with self.output.open("a") as file:
            file.write(json.dumps(record) + "\n")


def main() -> None:
    """Append the points; a fine-tune whose last point is there is not done again."""
    torch.set_num_threads(1)
    output, subjects = Path(sys.argv[1]), sys.argv[2:]
    lines = output.read_text().splitlines() if output.exists() else []
    known = {(r["subject"], r["rate"], r["step"]) for r in map(json.loads, lines)}
    for subject in subjects:
        for rate in RATES:
            if (subject, rate, STEPS[-1]) in known:
                continue
            with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
                overrides = [f"subject={subject}", f"optimizer.lr={rate}", f"trainer.max_steps={STEPS[-1]}"]
                settings = settings_of(RunSettings, compose("train", overrides=[*overrides, "run_dir=none"]))
            split = split_subject(find_subject(settings), settings.data)
            image_model, backbone = build_models(settings.model)
            job = FineTuneJob(
                clip=split.training,
                batch_frames=settings.data.batch_frames,
                optimizer=settings.optimizer,
                trainer=settings.trainer,
                seed=settings.seed,
            )
            points = Points(settings, split, image_model, output, {"subject": subject, "rate": rate})
            fine_tune(job, image_model, backbone, observers=Observers(callbacks=[points]))


if __name__ == "__main__":
    main()
