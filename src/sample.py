"""`python -m src.sample run=outputs/<run> poses=…`: film a fine-tuned person in other poses."""

import logging
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.app.entry import entry
from src.common.files import write_json
from src.common.typed import typed
from src.data.pose_sources import target_poses
from src.models.adapter import load_adapter
from src.models.settings import ModelSettings, build_models
from src.runs.provenance import environment, git_revision
from src.runs.run_folder import ADAPTER, SUMMARY, load_run, only_writer
from src.sampling.generate import film
from src.sampling.sampler import SamplingJob
from src.sampling.settings import MethodSettings, SamplingSettings

log = logging.getLogger(__name__)


def sample(cfg: DictConfig) -> dict:
    """Film the person of `cfg.run` in `cfg.poses`.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: no such run, unreadable poses, or bad settings.
    """
    run = Path(cfg.run)
    trained, clip = load_run(run)
    method = typed(MethodSettings, _changed(trained.method, cfg.method), "method")
    sampling = typed(SamplingSettings, _changed(trained.sampling, cfg.sampling), "sampling")
    target = target_poses(
        cfg, resolution=clip.frames.shape[1], fps=clip.fps, training=clip.poses, subject=str(trained.subject)
    )
    name = Path(str(cfg.poses)).stem
    folder = Path(cfg.output) if cfg.output is not None else run / "samples" / name

    image_model, backbone = build_models(typed(ModelSettings, trained.model, "model"))
    load_adapter(run / ADAPTER, backbone, base=image_model.base)
    prompt = clip.prompt if cfg.prompt is None else str(cfg.prompt)
    seed = trained.seed if cfg.seed is None else cfg.seed
    job = SamplingJob(clip.frames, clip.poses, target.poses, clip.prompt, prompt, seed)
    results = {"method": method, "sampling": sampling, "trainer": _changed(trained.trainer, cfg.trainer)}
    summary = {"run": str(run), "poses": str(cfg.poses), "prompt": prompt, "seed": seed, "method": asdict(method)}
    with only_writer(folder):
        cost = film(image_model, backbone, job, **results, folder=folder, fps=target.fps, beside=target.beside)
        summary |= {"sampling": cost, "versions": environment(), "git": git_revision()}
        write_json(folder / SUMMARY, summary)
    return summary


def _changed(trained: DictConfig, changes: DictConfig) -> DictConfig:
    """The run's settings with those changes that are not null."""
    given = {key: value for key, value in changes.items() if value is not None}
    nested = {key: _changed(trained[key], value) for key, value in given.items() if isinstance(value, DictConfig)}
    return OmegaConf.merge(trained, {**given, **nested})


@entry("sample")
def main(cfg: DictConfig) -> None:
    """Command line."""
    sample(cfg)


if __name__ == "__main__":
    main()
