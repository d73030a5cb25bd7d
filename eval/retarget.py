"""Another person's motion on this body, where the truth is known: python -m eval.retarget.

Rendered people can perform each other's motions. So for every pair the subject is fine-tuned and filmed in the driver's
poses with each `retarget=`, and compared with the subject rendered doing that motion; filming in the poses of that
rendering shows what is left to the model.

Dimensions: F frames, H×W pixels, RGB uint8.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from eval.metrics.psnr import psnr
from src.app.compose import compose_config, compose_like
from src.app.entry import entry
from src.common.errors import UserError
from src.common.files import atomic_path, write_json
from src.common.typed import check_choice
from src.data.rendered import SEEDS, kind_of, people_subject
from src.media.video import read_video
from src.people.render import render_motion, sample_identity, sample_motion
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence
from src.pose.retarget import MODES
from src.runs.run_folder import SUMMARY
from src.sample import sample
from src.train import train

log = logging.getLogger(__name__)
TRUE_POSES = "true poses"


def measure(cfg: DictConfig) -> dict:
    """Film every pair of `cfg.pairs` in every mode; what is finished in `cfg.output` is not done again.

    Returns:
        The content of `results.json`: by pair and in the mean, for each mode `psnr` (dB, mean over frames) and
        `keypoint_error` (mean distance of target poses to true poses in units of the frame).

    Raises:
        UserError: not pairs of different rendered people who move alike, or bad settings of the fine-tune.
    """
    pairs = [_checked(pair) for pair in cfg.pairs]
    if not pairs:
        raise UserError("pairs=[] names no one: give pairs of subject and driver, such as [[people_001,people_002]]")
    results = {f"{subject} as {driver}": _measure_pair(cfg, subject, driver) for subject, driver in pairs}
    modes = next(iter(results.values()))
    mean = {m: {k: float(np.mean([r[m][k] for r in results.values()])) for k in modes[m]} for m in modes}
    summary = {"model": cfg.model.name, "frames": cfg.frames, "pairs": results, "mean": mean}
    output = Path(cfg.output)
    write_json(output / "results.json", summary)
    table = _table(results | {"mean": mean})
    with atomic_path(output / "results.md") as temporary:
        temporary.write_text(table)
    log.info("%s\nresults: %s", table, output)
    return summary


def _checked(pair: list[str]) -> tuple[str, str]:
    if len(pair) != 2 or pair[0] == pair[1]:
        raise UserError(f"pairs: {list(pair)} must be a subject and another person as driver")
    for name in pair:
        check_choice("pairs", name, tuple(SEEDS))
    if kind_of(pair[0]) != kind_of(pair[1]):
        raise UserError(f"pairs: {pair[0]} and {pair[1]} differ in their kind of motion, talk and dance")
    return pair[0], pair[1]


def _measure_pair(cfg: DictConfig, subject: str, driver: str) -> dict[str, dict[str, float]]:
    """Figures of each mode, and of the true poses."""
    output = Path(cfg.output)
    run = output / "runs" / subject
    trained = compose_like("train", cfg)
    trained.merge_with({"subject": subject, "run_dir": str(run), "sample_after_train": False})
    train(trained)

    size = trained.data.resolution
    motion = sample_motion(kind_of(driver), cfg.frames, SEEDS[driver])
    true_FHWC, true_poses = render_motion(sample_identity(SEEDS[subject]), motion, size)
    theirs = people_subject(driver, resolution=size)
    sources = {mode: theirs.poses[: cfg.frames] for mode in MODES} | {TRUE_POSES: true_poses}
    figures = {}
    for mode, poses in sources.items():
        folder = output / "films" / f"{subject}_{driver}_{mode.replace(' ', '_')}"
        if not (folder / SUMMARY).is_file():
            save_poses(folder / "source.npz", poses, fps=float(theirs.fps))
            film = compose_config("sample")
            film.merge_with({"run": str(run), "poses": str(folder / "source.npz"), "output": str(folder)})
            film.retarget = mode if mode in MODES else "none"
            sample(film)
        generated_FHWC = read_video(folder / "frames").frames
        pictures = (torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in (generated_FHWC, true_FHWC))
        figures[mode] = {
            "psnr": float(psnr(*pictures, arithmetic="float64").mean()),
            "keypoint_error": _keypoint_error(load_poses(folder / "poses.npz"), true_poses),
        }
    return figures


def _keypoint_error(poses: PoseSequence, truth: PoseSequence) -> float:
    both = poses.mask & truth.mask
    return float(np.linalg.norm(poses.xy - truth.xy, axis=-1)[both].mean())


def _table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: a row for each pair, PSNR and keypoint error of each mode in the columns."""
    modes = list(results["mean"])
    lines = [f"| PSNR ↑ (keypoint error ↓) | {' | '.join(modes)} |", "|---" * (len(modes) + 1) + "|"]
    for name, figures in results.items():
        cells = [f"{figures[mode]['psnr']:.2f} ({figures[mode]['keypoint_error']:.4f})" for mode in modes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@entry(config_name="retarget")
def main(cfg: DictConfig) -> None:
    """Command line."""
    measure(cfg)


if __name__ == "__main__":
    main()
