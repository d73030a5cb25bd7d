"""MagicAnimate (Xu et al. 2023, github.com/magic-research/magic-animate).

<subject>/<subject>.png          the reference
<subject>/driving.mp4            the held-out frames, for DensePose to be estimated on
<subject>/densepose.mp4          from the user: DensePose part labels in Viridis colours, M frames of S x S
animation.yaml                   the configuration of its script, over all subjects that have their DensePose
output/<subject>_densepose.mp4   from MagicAnimate
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from eval.benchmark.external.base import System, Task, check_frames, render
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.media.video import write_image, write_video

DENSEPOSE, DRIVING, CONFIG = "densepose.mp4", "driving.mp4", "animation.yaml"


@dataclass(frozen=True, kw_only=True)
class MagicAnimate(System):
    """The public checkpoint, driven by DensePose from one reference frame.

    Attributes:
        num_steps, guidance_scale, seed: of its sampling.
    """

    kind: Literal["magicanimate"]
    num_steps: int
    guidance_scale: float
    seed: int

    def export(self, task: Task) -> str | None:
        reference, driving = _reference(task), task.folder / DRIVING
        if not reference.is_file():
            with atomic_path(reference) as temporary:
                write_image(temporary, task.training()[0])
        if not driving.is_file():
            write_video(driving, task.held_out(), task.fps)
        densepose = task.folder / DENSEPOSE
        if not densepose.is_file():
            return (
                f"add {densepose}, the DensePose of {DRIVING}: {counted(task.num_poses, 'frame')} of "
                f"{task.size}x{task.size} (COMMANDS.md, step 2)"
            )
        # Its script resizes what does not fit, and makes as many frames as there are.
        check_frames([densepose], task, what="DensePose frames", size=task.size)
        return None

    def finish_export(self, root: Path, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        models = "pretrained_models"
        config = {
            "pretrained_model_path": f"{models}/stable-diffusion-v1-5",
            "pretrained_vae_path": f"{models}/sd-vae-ft-mse",
            "pretrained_controlnet_path": f"{models}/MagicAnimate/densepose_controlnet",
            "pretrained_appearance_encoder_path": f"{models}/MagicAnimate/appearance_encoder",
            "pretrained_unet_path": "",
            "motion_module": f"{models}/MagicAnimate/temporal_attention/temporal_attention.ckpt",
            "savename": _save_name(root),
            "fusion_blocks": "midup",
            "seed": [self.seed],
            "steps": self.num_steps,
            "guidance_scale": self.guidance_scale,
            "source_image": [str(_reference(task).resolve()) for task in tasks],
            "video_path": [str((task.folder / DENSEPOSE).resolve()) for task in tasks],
            "inference_config": "configs/inference/inference.yaml",
            "size": tasks[0].size,
            **{"L": 16, "S": 1, "I": 0, "clip": 0, "offset": 0},
            "max_length": None,
            "video_type": "condition",
            "invert_video": False,
            "save_individual_videos": False,
        }
        with atomic_path(root / CONFIG) as temporary:
            temporary.write_text(yaml.safe_dump(config, sort_keys=False))

    def find_output(self, task: Task) -> list[Path] | None:
        video = task.folder.parent / "output" / f"{task.name}_{Path(DENSEPOSE).stem}.mp4"
        return [video] if video.is_file() else None

    def commands(self, root: Path, tasks: Sequence[Task]) -> str:
        values = {"name": self.name, "root": root, "size": tasks[0].size, "save_name": _save_name(root)}
        return render("magicanimate.md.j2", values)


def _reference(task: Task) -> Path:
    # The script names its output after the source image and the driving video, without their folders.
    return task.folder / f"{task.name}.png"


def _save_name(root: Path) -> str:
    return f"posecrafter_{root.name}"
