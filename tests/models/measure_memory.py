"""Memory of guided sampling beyond the weights: `python -m tests.models.measure_memory [small] [large]`.

The steps run on tensors without content, and what lives is added up (`src/models/memory.py`): exact for PyTorch's own
tensors, and without the workspaces of convolutions and attention. Prints a row for each size, number of frames and
chunk, and what holds most at the peak.
"""

import sys
from collections import Counter
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from src.models.memory import _Living
from src.sampling.ddim import ddim_sample
from src.sampling.noise_predictor import NoisePredictor
from tests.models.measure_compile import SIZES, build

FRAMES = {"auto": (16, 64, 100, 400, 1000), 8: (16, 64, 100)}
STEPS = 1
MIB = 2**20


class _Holders(_Living):
    """Knows which operations made what lives at the peak, and of what shape."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, str] = {}
        self.at_peak: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.peak
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                key = tensor.untyped_storage()._cdata
                self._made.setdefault(key, f"{func.overloadpacket.__name__} {tuple(tensor.shape)}")
        if self.peak > before:
            self.at_peak = Counter()
            for key, size in self._sizes.items():
                self.at_peak[self._made.get(key, "?")] += size
        return out

    def _remove(self, key: int) -> None:
        super()._remove(key)
        self._made.pop(key, None)


def peak(name: str, num_frames: int, frame_chunk: int | str, steps: int = STEPS) -> tuple[int, Counter[str]]:
    """Bytes of guided steps beyond weights, embedded poses and first latents, and what holds them."""
    channels, layers, heads, cells = SIZES[name]
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), _Holders() as living:
        backbone = build(channels, layers, heads, compiled=False)
        poses, texts = torch.empty(1, num_frames, channels[0], cells, cells), torch.empty(2, 1, 77, 32)
        latents = torch.empty(1, num_frames, 4, cells, cells)
        predictor = NoisePredictor(
            *(backbone, poses, texts[0]), unconditional_1TE=texts[1], guidance_scale=12.0, frame_chunk=frame_chunk
        )
        found = living.peak_of(lambda: ddim_sample(latents, predictor, DDIMScheduler(), steps))
    return found, living.at_peak


def main() -> None:
    """Print the rows."""
    for name in sys.argv[1:] or SIZES:
        for chunk, numbers in FRAMES.items():
            for num_frames in numbers:
                found, held = peak(name, num_frames + 1, chunk)
                most = ", ".join(f"{what} {size / MIB:.1f}" for what, size in held.most_common(8))
                print(f"{name} M={num_frames} chunk={chunk}: {found / MIB:.1f} MiB; {most}", flush=True)


if __name__ == "__main__":
    main()
