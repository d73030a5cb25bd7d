"""CPU seconds of a noise prediction and of a training step, compiled and not, interleaved, and of compiling.

    python -m tests.models.measure_compile [small] [large]

Prints two rows of the table in experiments/SPEED.md for each size: random weights, one thread.
"""

import os
import statistics
import sys
from collections.abc import Callable

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from src.models.backbone import VideoBackbone
from src.models.compiled import CompiledForwards
from src.models.shipped import shipped_configs

# Channels, layers a block, heads, latent cells a side.
SIZES = {"small": ((32, 64, 64, 64), 1, 2, 16), "large": ((64, 128, 256, 256), 2, 8, 32)}
FRAMES, OTHER_FRAMES, STEP_FRAMES, REPEATS = 17, 9, 8, 7


def build(channels: tuple[int, ...], layers: int, heads: int, *, compiled: bool) -> VideoBackbone:
    """Networks of Stable Diffusion's structure."""
    torch.manual_seed(0)
    folder, networks = shipped_configs("tiny"), []
    for cls, name in ((UNet2DConditionModel, "unet"), (ControlNetModel, "controlnet")):
        config = dict(cls.load_config(folder / name))
        config |= {"block_out_channels": channels, "layers_per_block": layers, "attention_head_dim": heads}
        networks.append(cls.from_config(config))
    return VideoBackbone(*networks, compiled=CompiledForwards.build(sampling=compiled, training=compiled)).eval()


def cpu_seconds() -> float:
    """Of this process and those that it started and waited for, compilers among them."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Case:
    """Inputs of so many frames, for backbones of one size."""

    def __init__(self, name: str, num_frames: int) -> None:
        channels, _, _, cells = SIZES[name]
        generator = torch.Generator().manual_seed(num_frames)
        self.embedding = torch.randn(1, num_frames, channels[0], cells, cells, generator=generator)
        self.latents = torch.randn(1, num_frames, 4, cells, cells, generator=generator)
        self.text = torch.randn(1, 77, 32, generator=generator)

    def predict(self, backbone: VideoBackbone) -> torch.Tensor:
        """The noise, tiles as on a CPU."""
        with backbone.chunked(tile_elements=2**21):
            return backbone(self.latents, 481, backbone.condition(self.embedding, self.text))

    def train(self, backbone: VideoBackbone) -> torch.Tensor:
        """All gradients of a step, one after the other."""
        backbone.zero_grad()
        self.predict(backbone).square().mean().backward()
        return torch.cat([p.grad.flatten() for p in backbone.trainable_state().values() if p.grad is not None])


def timed(run: Callable[[VideoBackbone], torch.Tensor], backbone: VideoBackbone) -> tuple[torch.Tensor, float]:
    """What it gives, and the CPU seconds that it takes."""
    started = cpu_seconds()
    return run(backbone), cpu_seconds() - started


def operators(run: Callable[[VideoBackbone], torch.Tensor], backbone: VideoBackbone) -> int:
    """Calls of PyTorch's operators."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run(backbone)
    return sum(event.name.startswith("aten::") for event in profiler.events() or [])


def measure(name: str, *, training: bool) -> str:
    """A row of the table."""
    channels, layers, heads, cells = SIZES[name]
    backbones = [build(channels, layers, heads, compiled=compiled) for compiled in (False, True)]
    case, other = (Case(name, frames) for frames in ((STEP_FRAMES,) * 2 if training else (FRAMES, OTHER_FRAMES)))
    run = case.train if training else case.predict
    seconds: list[list[float]] = [[], []]
    results = [torch.empty(0)] * 2
    with torch.set_grad_enabled(training):
        compiling = timed(run, backbones[1])[1]
        anew = timed(other.train if training else other.predict, backbones[1])[1]
        for _ in range(REPEATS):
            for which, backbone in enumerate(backbones):
                results[which], spent = timed(run, backbone)
                seconds[which].append(spent)
        calls = [operators(run, backbone) for backbone in backbones]
    error = (results[1] - results[0]).abs().max().item() / results[0].abs().max().item()
    plain, fast = (statistics.median(some) for some in seconds)
    what = f"{channels}, {cells}², {'training' if training else 'prediction'}"
    figures = (f"{plain:.2f}", f"{fast:.2f}", f"{plain / fast:.2f}", f"{compiling:.0f}", f"{anew:.2f}", f"{error:.0e}")
    return " | ".join(("", what, *figures, *(f"{count:,}" for count in calls), "")).strip()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for size in sys.argv[1:] or SIZES:
        for trained in (False, True):
            sys.stdout.write(measure(size, training=trained) + "\n")
            sys.stdout.flush()
