"""One file of weights, read as data: names and shapes without the tensors, or the tensors, never code."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from src.common.arrays import check_packed
from src.common.counting import counted
from src.common.errors import DamagedFile, UserError, explained, in_one_line

SUFFIXES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
MAX_TENSORS = 20_000  # Stable Diffusion with EMA has about 2,000


def is_weights_file(name: str) -> bool:
    """Whether a setting names one file of weights rather than a folder or a hub id."""
    return Path(name).suffix.lower() in SUFFIXES and not Path(name).is_dir()


def tensor_shapes(path: str, *, option: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file; of safetensors and zipped checkpoints no tensor is read.

    Raises:
        UserError: there is no such file, or it holds anything but weights.
    """
    _require(path, option)
    if Path(path).suffix.lower() != ".safetensors":
        # On the meta device the tensors of a zipped file stay on disk.
        return {name: tuple(tensor.shape) for name, tensor in _unpickled(path, option, device="meta").items()}
    try:
        with in_one_line(path, "read"), safe_open(path, "pt") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise UserError(f"{option}={path} holds {len(names)} tensors: no model of this family has so many")
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{option}={path} is no readable safetensors file ({error}): download it again") from error


def read_tensors(path: str, *, option: str) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU, in the precision that they are stored in.

    Raises:
        UserError: as of `tensor_shapes`.
    """
    _require(path, option)
    if Path(path).suffix.lower() != ".safetensors":
        return _unpickled(path, option, device="cpu")
    try:
        with in_one_line(path, "read"):
            return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{option}={path} is no readable safetensors file ({error}): download it again") from error


def require_finite(state: Mapping[str, Tensor], what: str, mend: str) -> None:
    """Raise a UserError, which says `what` holds them and the `mend`, where tensors hold values that are not finite."""
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        raise UserError(
            f"{what} holds values that are not finite in {counted(len(bad), 'tensor')} (first: {bad[0]}): {mend}"
        )


def _require(path: str, option: str) -> None:
    if not Path(path).is_file():
        raise UserError(f"{option}={path}: there is no such file")


def _unpickled(path: str, option: str, *, device: str) -> dict[str, Tensor]:
    """Tensors of a pickled checkpoint, below `state_dict` where there is one; nothing in it is executed."""
    try:
        zipped = check_packed(path)
        content = torch.load(path, map_location=device, weights_only=True, mmap=zipped and device != "meta")
    except DamagedFile as error:
        raise UserError(f"{option}={error}: convert it to safetensors") from error
    except UserError:
        raise
    except (UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError, IndexError, TypeError) as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise UserError(
                f"{option}={path} holds more than weights, which is not opened because it could run code: convert it "
                "to safetensors"
            ) from error
        damaged = UserError(f"{option}={path} is no readable checkpoint: download it again")
        raise explained(error, path, "read") or damaged from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UserError(f"{option}={path} holds a {type(content).__name__}: expected named tensors")
    nested = {
        f"{outer}.{name}": value
        for outer, inner in content.items()
        if isinstance(inner, dict)
        for name, value in inner.items()
    }
    return {str(name): value for name, value in {**content, **nested}.items() if isinstance(value, Tensor)}
