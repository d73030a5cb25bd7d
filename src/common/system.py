"""What this machine offers: devices, execution providers of ONNX Runtime, video codecs, places to write, memory."""

import functools
import mmap
import os
import platform
import resource
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

GIB = 2**30
# OpenBLAS takes 32 MiB a thread, and the first matrices that are large enough make it do so.
_WORKSPACE, _LARGE_ENOUGH = 64 * 2**20, 320


def devices() -> dict[str, Any]:
    """Processors and accelerators that PyTorch sees, memory in GiB."""
    import torch

    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu_cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "torch": torch.__version__,
        "cuda": [],
        "mps": torch.backends.mps.is_available(),
    }
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            # ROCm's cards answer here too, under CUDA's name.
            found["cuda"].append({"name": about.name, "memory_gib": round(about.total_memory / GIB, 1)})
        found["built_for"] = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    return found


def quick_precision(accelerator: str, dtype: str = "float32") -> str:
    """The precision of Lightning that is quickest here, for `trainer.precision`.

    Processors round to 16 bits at a loss of time unless they multiply matrices of them (AMX): the miniature's
    fine-tune and sampling took 1.5 times as long in bf16-mixed as in 32-true with AVX-512 alone, its bf16 included.

    Args:
        accelerator: `trainer.accelerator`.
        dtype: `model.dtype`; weights of 16 bits leave no choice.
    """
    if dtype not in ("auto", "float32"):
        return "16-mixed" if dtype == "float16" else "bf16-mixed"
    if accelerator == "auto":
        import torch

        accelerator = "gpu" if torch.accelerator.is_available() else "cpu"
    return "32-true" if accelerator == "cpu" and not _has_amx() else "bf16-mixed"


def hardware(device: str) -> str:
    """In a line, what computed: the card of `device`, or the processor.

    Args:
        device: as PyTorch names it, such as `cuda:0` or `cpu`.
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU, {os.cpu_count()} cores, {platform.machine()}"


def peak_memory_gib(device: str) -> float:
    """Peak memory since the start: of the GPU's allocator, or of the process where it runs elsewhere.

    Args:
        device: as of `hardware`.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / GIB
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def execution_providers() -> dict[str, Any]:
    """What ONNX Runtime, which runs DWPose, can use; `builds` are the packages of it that are installed."""
    import onnxruntime

    names = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-rocm", "onnxruntime-silicon", "onnxruntime-directml")
    builds = {name: found for name in names if (found := installed_version(name))}
    return {"providers": onnxruntime.get_available_providers(), "builds": builds}


def video_codecs() -> dict[str, dict[str, bool]]:
    """Of FFmpeg as PyAV brings it: which common codecs can be read, and whether H.264 and AAC can be written."""
    from av.codec import Codec
    from av.error import FFmpegError

    def has(name: str, mode: Literal["r", "w"]) -> bool:
        try:
            Codec(name, mode)
        except (FFmpegError, ValueError):  # PyAV has an error of its own for a codec that is unknown
            return False
        return True

    reading = ("h264", "hevc", "vp9", "av1", "mpeg4", "prores", "mjpeg", "gif", "aac")
    return {
        "read": {name: has(name, "r") for name in reading},
        "write": {name: has(name, "w") for name in ("libx264", "aac")},
    }


def writable(folder: str | Path) -> dict[str, Any]:
    """Whether a file can be made in a folder, or in the nearest one above that exists, and the space there in GiB."""
    there = Path(folder).expanduser().absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            can, why = True, None
    except OSError as error:
        can, why = False, error.strerror
    return {
        "folder": str(folder),
        "writable": can,
        "free_gib": round(shutil.disk_usage(there).free / GIB, 1),
        "why": why,
    }


@functools.cache
def take_workspace() -> None:
    """Have numpy's OpenBLAS take its workspace while the system can say no; it would ask for it again without end.

    Raises:
        OSError: no memory is left (`ENOMEM`).
    """
    import numpy as np

    mmap.mmap(-1, _WORKSPACE).close()
    matrix = np.ones((_LARGE_ENOUGH, _LARGE_ENOUGH))
    np.matmul(matrix, matrix)


@functools.cache
def _has_amx() -> bool:
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1)


def installed_version(package: str) -> str | None:
    """Of a package; None: it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
