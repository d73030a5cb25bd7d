"""Operations at equal output, ours and the public ControlVideo code's: `python -m tests.models.measure_operations`.

The public code inverts every frame of a clip and predicts both prompts apart; its attentions make keys and values of
every frame, and of the prompt for every frame. Here one frame is inverted, keys and values are made once a clip, and
what precedes the first attention to text is computed once for both prompts. Prints a row for each size, as counted.
"""

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch._subclasses.fake_tensor import FakeTensorMode

from src.benchmarking.count import _Kernels
from src.models.backbone import VideoBackbone
from tests.models.measure_compile import SIZES, STEP_FRAMES, build

TEXT_TOKENS, TEXT_CHANNELS, FRAMES = 77, 32, (16, 100)


def evaluation(name: str, num_frames: int, num_prompts: int) -> float:
    """Operations of one noise prediction."""
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        return _operations(_build(name), name, num_frames, num_prompts, backward=False)


def training_step(name: str, *, all_weights: bool) -> float:
    """Operations of a loss and its gradients, of all weights or of the trained ones alone."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        backbone = _build(name)
        if all_weights:
            backbone.requires_grad_(True)
        return _operations(backbone, name, STEP_FRAMES, 1, backward=True)


def keys_of_all_frames(name: str, num_frames: int) -> float:
    """Operations of what the public code makes of keys and values beyond ours, in one prediction."""
    channels, _, _, cells = SIZES[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        backbone, total = _build(name), 0
        for network in (backbone.unet, backbone.controlnet):
            for path, block in network.named_modules():
                if isinstance(block, BasicTransformerBlock):
                    width = block.attn1.query_dim
                    tokens = (cells >> _level(path, len(channels))) ** 2
                    total += 4 * (num_frames - 1) * (tokens * width**2 + TEXT_TOKENS * width * TEXT_CHANNELS)
    return total


def _level(path: str, num_levels: int) -> int:
    if path.startswith("mid_block"):
        return num_levels - 1
    number = int(path.split(".")[1])
    return number if path.startswith("down_blocks") else num_levels - 1 - number


def _build(name: str) -> VideoBackbone:
    channels, layers, heads, _ = SIZES[name]
    return build(channels, layers, heads, compiled=False)


def _operations(backbone: VideoBackbone, name: str, num_frames: int, num_prompts: int, *, backward: bool) -> float:
    channels, _, _, cells = SIZES[name]
    poses = torch.empty(1, num_frames, channels[0], cells, cells)
    texts = [torch.empty(1, TEXT_TOKENS, TEXT_CHANNELS)] * num_prompts
    conditioning = backbone.condition(poses, *texts)
    with _Kernels() as kernels:
        noise = backbone(torch.empty(1, num_frames, 4, cells, cells), 1, conditioning)
        if backward:
            noise.square().mean().backward()
    return kernels.operations


def main() -> None:
    """Print the ratios, public over ours."""
    for name in SIZES:
        for num_frames in (n + 1 for n in FRAMES):
            public = 3 * (evaluation(name, num_frames, 1) + keys_of_all_frames(name, num_frames))
            ours = evaluation(name, 1, 1) + evaluation(name, num_frames, 2)
            print(f"{name}, M = {num_frames - 1}: inversion and guided sampling {public / ours:.2f}")
        ours, more = training_step(name, all_weights=False), keys_of_all_frames(name, STEP_FRAMES)
        print(f"{name}, training step, gradients of the trained weights {(ours + 2 * more) / ours:.2f}")
        print(f"{name}, the same of all weights {(training_step(name, all_weights=True) + 3 * more) / ours:.2f}")


if __name__ == "__main__":
    main()
