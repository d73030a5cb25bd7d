"""`python -m src.train subject=…`: prepare, fine-tune on N frames (Sec. 4.1), film the held-out poses."""

import logging
import time
from dataclasses import replace

from hydra.utils import instantiate
from omegaconf import DictConfig

from src.callbacks import Preview
from src.cli import entry
from src.config import typed
from src.data.resolve import resolve_subject
from src.data.sheet import spread
from src.data.split import split_frames
from src.data.subject import ClipSettings
from src.files import write_json
from src.film import film
from src.fine_tune import check_same_run, fine_tune
from src.logger import log_video
from src.models.settings import ModelSettings, build_models
from src.provenance import environment, git_revision, poses_sha256
from src.run_folder import SUMMARY, TrainingClip, choose_run_dir, finished_summary, overrides, save_held_out
from src.sampling.sampler import Sampler, SamplingJob
from src.sampling.settings import MethodSettings, SamplingSettings

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict:
    """One run, from a subject to a video of it in the held-out poses.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad settings or input; nothing is written then.
    """
    started = time.perf_counter()
    method = typed(MethodSettings, cfg.method, "method")
    sampling = typed(SamplingSettings, cfg.sampling, "sampling")
    settings = typed(ModelSettings, cfg.model, "model")
    folder = choose_run_dir(cfg)
    cfg.run_dir = str(folder)
    check_same_run(folder, cfg)

    subject = resolve_subject(
        str(cfg.subject),
        settings=ClipSettings.from_config(cfg.data),
        root=cfg.data.root,
        extractor=lambda: instantiate(cfg.pose),
        prompt=cfg.prompt,
    )
    split = split_frames(len(subject), num_train=cfg.data.num_frames, num_test=cfg.data.num_test_frames)
    chosen = list(split.train)
    clip = TrainingClip(subject.frames[chosen], subject.poses[chosen], subject.prompt, float(subject.fps))
    held_out = list(split.test)
    inputs = clip.checksums() | {"test_poses_sha256": poses_sha256(subject.poses[held_out])}
    if (finished := finished_summary(folder, cfg, inputs)) is not None:
        log.info("finished before: %s", folder)
        return finished
    image_model, backbone = build_models(settings)
    image_model.check_resolution(cfg.data.resolution)

    target_prompt = cfg.target_prompt or clip.prompt
    job = SamplingJob(clip.frames, clip.poses, subject.poses[held_out], clip.prompt, target_prompt, cfg.seed)
    callbacks = []
    if cfg.preview.every_n_steps:
        few = replace(job, target_poses=job.target_poses[spread(len(held_out), cfg.preview.num_poses)])
        sampler = Sampler(image_model, backbone, method, replace(sampling, num_steps=cfg.preview.num_steps))
        callbacks.append(Preview(sampler, few, folder / "preview", cfg.preview.every_n_steps))

    summary = {
        "subject": subject.name,
        "overrides": overrides(),
        "model": settings.name,
        "method": method.name,
        "seed": cfg.seed,
    }
    summary |= {"prompt": clip.prompt, "training_frames": chosen, "test_frames": held_out, "inputs": inputs}
    summary["training"] = fine_tune(image_model, backbone, clip, cfg, folder, callbacks)
    if cfg.sample_after_train:
        save_held_out(folder, subject.frames[held_out], job.target_poses, clip.fps)
        results = {"method": method, "sampling": sampling, "trainer": cfg.trainer, "folder": folder}
        real = ("real", subject.frames[held_out])
        summary["sampling"] = film(image_model, backbone, job, **results, fps=clip.fps, beside=real)
        log_video("comparison", folder / "comparison.mp4")
    summary |= {"seconds": round(time.perf_counter() - started, 3), "versions": environment(), "git": git_revision()}
    write_json(folder / SUMMARY, summary)
    log.info("run: %s", folder)
    return summary


@entry("train")
def main(cfg: DictConfig) -> None:
    """Command line."""
    train(cfg)


if __name__ == "__main__":
    main()
