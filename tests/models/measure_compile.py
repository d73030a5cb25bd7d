"""CPU seconds of a noise prediction with `model.compile` and without, interleaved, and of compiling.

    python -m tests.models.measure_compile [small] [large]

Prints a row of the table in experiments/SPEED.md for each size: random weights, one thread.
"""

import os
import statistics
import sys

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from src.models.backbone import VideoBackbone
from src.models.shipped import shipped_configs

# Channels, layers a block, heads, latent cells a side.
SIZES = {"small": ((32, 64, 64, 64), 1, 2, 16), "large": ((64, 128, 256, 256), 2, 8, 32)}
FRAMES, OTHER_FRAMES, REPEATS = 17, 9, 7


def build(channels: tuple[int, ...], layers: int, heads: int, *, compiled: bool) -> VideoBackbone:
    """Networks of Stable Diffusion's structure."""
    torch.manual_seed(0)
    folder, networks = shipped_configs("tiny"), []
    for cls, name in ((UNet2DConditionModel, "unet"), (ControlNetModel, "controlnet")):
        config = dict(cls.load_config(folder / name))
        config |= {"block_out_channels": channels, "layers_per_block": layers, "attention_head_dim": heads}
        networks.append(cls.from_config(config))
    return VideoBackbone(*networks, compiled=compiled).eval()


def cpu_seconds() -> float:
    """Of this process and those that it started and waited for, compilers among them."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@torch.no_grad()
def measure(name: str) -> str:
    """A row of the table."""
    channels, layers, heads, cells = SIZES[name]
    backbones = [build(channels, layers, heads, compiled=compiled) for compiled in (False, True)]
    runs, seconds = {}, {False: [], True: []}

    def predict(backbone: VideoBackbone, num_frames: int) -> tuple[torch.Tensor, float]:
        generator = torch.Generator().manual_seed(num_frames)
        embedding = torch.randn(1, num_frames, channels[0], cells, cells, generator=generator)
        latents = torch.randn(1, num_frames, 4, cells, cells, generator=generator)
        conditioning = backbone.condition(embedding, torch.randn(1, 77, 32, generator=generator))
        with backbone.chunked(tile_elements=2**21):
            started = cpu_seconds()
            noise = backbone(latents, 481, conditioning)
            return noise, cpu_seconds() - started

    compiling = predict(backbones[1], FRAMES)[1]
    other = predict(backbones[1], OTHER_FRAMES)[1]
    for _ in range(REPEATS):
        for compiled in (False, True):
            runs[compiled], spent = predict(backbones[compiled], FRAMES)
            seconds[compiled].append(spent)
    error = (runs[True] - runs[False]).abs().max().item() / runs[False].abs().max().item()
    plain, fast = (statistics.median(seconds[compiled]) for compiled in (False, True))
    figures = (f"{plain:.2f}", f"{fast:.2f}", f"{plain / fast:.2f}", f"{compiling:.0f}", f"{other:.2f}", f"{error:.0e}")
    return " | ".join(("", f"{channels}, {cells}²", *figures, "")).strip()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for size in sys.argv[1:] or SIZES:
        sys.stdout.write(measure(size) + "\n")
        sys.stdout.flush()
