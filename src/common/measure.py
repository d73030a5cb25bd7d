"""What a stage cost: peak memory."""

import resource
import sys

GIB = 2**30
# Linux counts in KiB, macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_memory_gib(device: str) -> float:
    """Peak memory since the start: of the GPU's allocator, or of the process where it runs elsewhere.

    Args:
        device: as PyTorch names it, such as `cuda:0`.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT / GIB
