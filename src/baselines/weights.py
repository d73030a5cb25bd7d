"""Public weights of other systems: read without running anything, loaded strictly, said in one line if absent."""

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from src.common.errors import UserError
from src.common.files import read_json

log = logging.getLogger(__name__)
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


def read_weights(path: Path, *, origin: str) -> Mapping[str, Any]:
    """The content of a `.safetensors` file, or of a torch pickle of plain tensors, on the CPU.

    Args:
        origin: where such a file comes from, for messages.

    Raises:
        UserError: it is not there, not readable, or a pickle that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}: expected {origin}")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values, so it is not opened: expected {origin}"
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is damaged or no file of weights ({_first_line(error)}): download it again, {origin}"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, where names and tensors were expected: {origin}")
    return content


def read_config(folder: Path, cls: type, *, origin: str) -> dict[str, Any]:
    """A diffusers or transformers config as plain values, without the entries that name classes and versions.

    Raises:
        UserError: it is not there or no JSON object.
    """
    path = folder / ("scheduler_config.json" if hasattr(cls, "set_timesteps") else CONFIG)
    if not path.is_file():
        raise UserError(f"no config at {path}: expected {origin}")
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} holds a {type(values).__name__}, where an object was expected: {origin}")
    return {name: value for name, value in values.items() if not name.startswith("_")}


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], *, what: str, dtype: torch.dtype) -> None:
    """Give a network exactly its tensors, shared where they have the precision already.

    Args:
        what: the weights, for messages.
        dtype: of the tensors of floats.

    Raises:
        UserError: tensors are missing, unknown or of another shape; with the first name of each kind.
    """
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape)
    if missing or unknown or wrong:
        faults = (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
        listed = "; ".join(f"{len(names)} {kind} (first: {names[0]})" for kind, names in faults if names)
        raise UserError(f"{what} does not fit the network: {listed}")
    cast = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    network.load_state_dict(cast, assign=True)
    network.eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
