"""`python -m src.train subject=…`: prepare, fine-tune on N frames (Sec. 4.1), film the held-out poses."""

import logging
import time

from omegaconf import DictConfig

from src.app.entry import entry
from src.app.loggers import log_video
from src.common.files import write_json
from src.common.typed import typed
from src.data.subject_split import load_footage
from src.models.settings import ModelSettings, build_models, caution
from src.runs.provenance import environment, git_revision
from src.runs.run_folder import SUMMARY, choose_run_dir, finished_summary, only_writer, overrides, save_held_out
from src.sampling.generate import film
from src.sampling.sampler import Sampler, SamplingJob
from src.sampling.settings import MethodSettings, SamplingSettings
from src.training.callbacks import previews
from src.training.fine_tune import check_fine_tune, fine_tune

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict:
    """One run, from a subject to a video of it in the held-out poses.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad settings or input, or another process is at work in the run folder; nothing is written then.
    """
    started = time.perf_counter()
    method = typed(MethodSettings, cfg.method, "method")
    sampling = typed(SamplingSettings, cfg.sampling, "sampling")
    settings = typed(ModelSettings, cfg.model, "model")
    folder = choose_run_dir(cfg)
    cfg.run_dir = str(folder)
    check_fine_tune(folder, cfg)

    footage = load_footage(cfg)
    clip, inputs = footage.clip, footage.checksums()
    if (finished := finished_summary(folder, cfg, inputs)) is not None:
        log.info("finished before: %s", folder)
        return finished
    if warning := caution(settings, rendered=footage.rendered):
        log.warning("%s", warning)
    image_model, backbone = build_models(settings)
    image_model.check_resolution(cfg.data.resolution)

    target_prompt = cfg.target_prompt or clip.prompt
    job = SamplingJob(clip.frames, clip.poses, footage.test_poses, clip.prompt, target_prompt, cfg.seed)
    callbacks = previews(cfg.preview, Sampler(image_model, backbone, method, sampling), job, folder / "preview")
    summary = {
        "subject": footage.name,
        "overrides": overrides(),
        "model": settings.name,
        "method": method.name,
        "seed": cfg.seed,
        "prompt": clip.prompt,
        "training_frames": footage.training_indices,
        "test_frames": footage.test_indices,
        "inputs": inputs,
    }
    with only_writer(folder):
        summary["training"] = fine_tune(image_model, backbone, clip, cfg, folder, callbacks)
        if cfg.sample_after_train:
            save_held_out(folder, footage.test_frames, job.target_poses, clip.fps)
            results = {"method": method, "sampling": sampling, "trainer": cfg.trainer, "folder": folder}
            real = ("real", footage.test_frames)
            summary["sampling"] = film(image_model, backbone, job, **results, fps=clip.fps, beside=real)
            log_video("comparison", folder / "comparison.mp4")
        summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment()}
        summary["git"] = git_revision()
        write_json(folder / SUMMARY, summary)
    log.info("run: %s", folder)
    return summary


@entry("train")
def main(cfg: DictConfig) -> None:
    """Command line."""
    train(cfg)


if __name__ == "__main__":
    main()
