"""Ours against the public ControlVideo model's way of computing: `python -m tests.models.measure_public [small|large]`.

CPU seconds on one thread, interleaved, of whole sampling from latents to latents (inversion and guidance, poses
embedded) and of a training step, and what whole sampling takes above what the process held after a prediction of one
frame, each side in a process of its own (Linux). The other side is `public_layout.py`, a rebuilding with fused
attention: the public code itself is not at hand. Random weights; prints rows of a table in experiments/SPEED.md.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from src.sampling.ddim import ddim_invert, ddim_sample
from src.sampling.noise_predictor import NoisePredictor
from tests.models.measure_compile import SIZES, STEP_FRAMES, build, cpu_seconds
from tests.models.public_layout import FiveDimensional

FRAMES = {"small": 16, "large": 8}
STEPS, REPEATS, GUIDANCE, TIMESTEP = 2, 5, 12.0, 481
SIDES = ("public", "ours")


class Case:
    """Inputs of one size, and a backbone for each side, with the same weights."""

    def __init__(self, name: str, num_frames: int) -> None:
        channels, layers, heads, cells = SIZES[name]
        generator = torch.Generator().manual_seed(0)
        self.backbone, self.public_backbone = (build(channels, layers, heads, compiled=False) for _ in SIDES)
        self.public = FiveDimensional(self.public_backbone)
        self.images_1FCHW = torch.rand(1, num_frames + 1, 3, 8 * cells, 8 * cells, generator=generator)
        self.latents_1FChw = torch.randn(1, num_frames, 4, cells, cells, generator=generator)
        self.source, self.negative, self.target = torch.randn(3, 1, 77, 32, generator=generator)

    @torch.no_grad()
    def ours(self) -> Tensor:
        """One frame inverted, and its pose inserted as the key frame, so one frame more sampled."""
        poses = [self.backbone.embed_poses(images)[None] for images in (self.images_1FCHW[0, :1], self.images_1FCHW[0])]
        predict = NoisePredictor(self.backbone, poses[0], self.source, frame_chunk="auto")
        noise_11Chw = ddim_invert(self.latents_1FChw[:, :1], predict, DDIMScheduler(), STEPS)[-1]
        guided = {"unconditional_1TE": self.negative, "guidance_scale": GUIDANCE, "frame_chunk": "auto"}
        predict = NoisePredictor(self.backbone, poses[1], self.target, **guided)
        noise_1FChw = noise_11Chw.expand(-1, self.images_1FCHW.shape[1], -1, -1, -1).contiguous()
        return ddim_sample(noise_1FChw, predict, DDIMScheduler(), STEPS)

    @torch.no_grad()
    def theirs(self) -> Tensor:
        """All frames inverted, none inserted, both prompts in one batch."""
        latents, poses = self.latents_1FChw.transpose(1, 2), self.images_1FCHW[:, 1:].transpose(1, 2)
        texts, both = torch.cat([self.negative, self.target]), torch.cat([poses, poses])

        def guided(latents_1CFhw: Tensor, timestep: int) -> Tensor:
            negative, target = self.public(torch.cat([latents_1CFhw] * 2), timestep, both, texts).chunk(2)
            return negative + GUIDANCE * (target - negative)

        noise = ddim_invert(latents, lambda x, t: self.public(x, t, poses, self.source), DDIMScheduler(), STEPS)[-1]
        return ddim_sample(noise, guided, DDIMScheduler(), STEPS)

    def our_step(self) -> Callable[[], None]:
        """Poses are embedded once for the fine-tune, so beforehand."""
        conditioning = self.backbone.prepare(self.images_1FCHW[:, 1:], self.target)
        return lambda: self.backbone(self.latents_1FChw, TIMESTEP, conditioning).square().mean().backward()

    def their_step(self) -> None:
        """Gradients of what is trained, with poses embedded in each step."""
        inputs = self.latents_1FChw.transpose(1, 2), TIMESTEP, self.images_1FCHW[:, 1:].transpose(1, 2), self.target
        self.public(*inputs).square().mean().backward()

    def one_frame(self, side: str) -> None:
        """A first prediction, after which libraries hold what they hold."""
        with torch.no_grad():
            latents, images = self.latents_1FChw[:, :1], self.images_1FCHW[:, :1]
            if side == "ours":
                self.backbone(latents, TIMESTEP, self.backbone.prepare(images, self.target))
            else:
                self.public(latents.transpose(1, 2), TIMESTEP, images.transpose(1, 2), self.target)


def interleaved(runs: Sequence[Callable[[], object]]) -> list[float]:
    """Median CPU seconds of each, after a first call."""
    seconds: list[list[float]] = [[] for _ in runs]
    for repeat in range(REPEATS + 1):
        for run, spent in zip(runs, seconds, strict=True):
            started = cpu_seconds()
            run()
            if repeat:
                spent.append(cpu_seconds() - started)
    return [statistics.median(some) for some in seconds]


def memory(side: str, name: str) -> float:
    """MiB that whole sampling takes above what the process held before."""
    case = Case(name, FRAMES[name])
    case.one_frame(side)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    case.ours() if side == "ours" else case.theirs()
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return (int(status.split()[0]) * 1024 - before) / 2**20


def rows(name: str) -> list[str]:
    """Of one size: what, theirs, ours, theirs over ours."""
    case, step = Case(name, FRAMES[name]), Case(name, STEP_FRAMES)
    sampling = interleaved([case.theirs, case.ours])
    training = interleaved([step.their_step, step.our_step()])
    command = [sys.executable, "-m", "tests.models.measure_public", "memory"]
    peaks = [float(subprocess.run([*command, side, name], capture_output=True, check=True).stdout) for side in SIDES]
    size = f"{SIZES[name][0]}, {SIZES[name][3]}²"
    found = {
        f"sampling, M = {FRAMES[name]}, {STEPS} steps, s": sampling,
        f"training step, n = {STEP_FRAMES}, s": training,
        f"peak above start, M = {FRAMES[name]}, MiB": peaks,
    }
    return [f"| {size} | {what} | {a:.3g} | {b:.3g} | {a / b:.2f} |" for what, (a, b) in found.items()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["memory"]:
        sys.stdout.write(str(memory(*sys.argv[2:4])))
    else:
        for size in sys.argv[1:] or SIZES:
            sys.stdout.write("\n".join(rows(size)) + "\n")
            sys.stdout.flush()
