"""Another person's motion on this body, where the truth is known.

Rendered people can perform each other's motions. So for every pair the subject is fine-tuned and generated in the
driver's poses with each `retarget=`, and compared with the subject rendered doing that motion; generating in the poses
of that rendering shows what is left to the model.

Dimensions: F frames, HxW pixels, RGB uint8.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.benchmark.retarget_settings import RetargetSettings
from eval.metrics.psnr import psnr
from src.common.atomic import atomic_path
from src.common.files import write_json
from src.data.rendered import SEEDS, kind_of, people_subject
from src.media.video import read_video
from src.people.identity import sample_identity
from src.people.motion import sample_motion
from src.people.render import render_motion
from src.pose.extractors.settings import MiniSettings
from src.pose.formats import load_poses
from src.pose.keypoints import PoseSequence
from src.pose.retarget import MODES, retarget
from src.runs.generated import FRAMES, POSES, Beside
from src.runs.identity import generation_key
from src.runs.make_run import make_run
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.runs.samples import save_sample
from src.runs.settings import RunSettings

log = logging.getLogger(__name__)
TRUE_POSES = "true poses"
Figures = dict[str, dict[str, float]]


def measure(settings: RetargetSettings) -> dict[str, Any]:
    """Generate every pair in every mode; what is finished in `settings.output` is not done again.

    Returns:
        The content of `results.json`: by pair and in the mean, for each mode `psnr` (dB, mean over frames) and
        `keypoint_error` (mean distance of target poses to true poses in units of the frame).

    Raises:
        UserError: bad settings of the fine-tune.
    """
    results = {f"{subject} as {driver}": _measure_pair(settings, subject, driver) for subject, driver in settings.pairs}
    modes = next(iter(results.values()))
    mean = {m: {k: float(np.mean([r[m][k] for r in results.values()])) for k in modes[m]} for m in modes}
    summary = {"model": settings.model.name, "frames": settings.frames, "pairs": results, "mean": mean}
    output = Path(settings.output)
    write_json(output / "results.json", summary)
    table = _table(results | {"mean": mean})
    with atomic_path(output / "results.md") as temporary:
        temporary.write_text(table, "utf-8")
    log.info("%s\nresults: %s", table, output)
    return summary


def _measure_pair(settings: RetargetSettings, subject: str, driver: str) -> Figures:
    """Figures of each mode, and of the true poses."""
    output, size = Path(settings.output), settings.data.resolution
    run = RunFolder(output / "runs" / subject)
    # Rendered people have their poses: the extractor is never asked.
    own = RunSettings(**settings.shared(), subject=subject, pose=MiniSettings(kind="mini"), sample_after_train=False)
    make_run(own, run)
    motion = sample_motion(kind_of(driver), settings.frames, SEEDS[driver])
    true_FHWC, true_poses = render_motion(sample_identity(SEEDS[subject]), motion, size)
    theirs = people_subject(driver, resolution=size)
    person, clip = None, run.training()
    figures: Figures = {}
    for mode in (*MODES, TRUE_POSES):
        poses = true_poses if mode == TRUE_POSES else retarget(theirs.poses[: settings.frames], clip.poses, mode)
        key = generation_key(own, clip, {"test_poses_sha256": poses.sha256(), "prompt": clip.prompt})
        folder = RunFolder(output / "generated" / f"{subject}_{driver}_{mode.replace(' ', '_')}_{key[:10]}")
        if (known := folder.summary()) is None or not folder.is_whole(known):
            person = Person.load(run) if person is None else person
            job = person.job(poses, fps=float(theirs.fps))
            with folder.only_writer():
                save_sample(folder, person.generate(job), job, Beside(), run=str(run.path), poses=driver)
        generated_FHWC = read_video(folder.path / FRAMES).frames
        pictures = (torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in (generated_FHWC, true_FHWC))
        figures[mode] = {
            "psnr": float(psnr(*pictures, arithmetic="float64").mean()),
            "keypoint_error": _keypoint_error(load_poses(folder.path / POSES), true_poses),
        }
    return figures


def _keypoint_error(poses: PoseSequence, truth: PoseSequence) -> float:
    both = poses.mask & truth.mask
    return float(np.linalg.norm(poses.xy - truth.xy, axis=-1)[both].mean())


def _table(results: dict[str, Figures]) -> str:
    """Markdown: a row for each pair, PSNR and keypoint error of each mode in the columns."""
    modes = list(results["mean"])
    lines = [f"| PSNR ↑ (keypoint error ↓) | {' | '.join(modes)} |", "|---" * (len(modes) + 1) + "|"]
    for name, figures in results.items():
        cells = [f"{figures[mode]['psnr']:.2f} ({figures[mode]['keypoint_error']:.4f})" for mode in modes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
