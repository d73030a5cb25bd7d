"""Public weights of other systems: their configs as plain data, their tensors loaded strictly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers import ConfigMixin
from torch import Tensor, nn

from src.common.errors import UserError
from src.common.reading import read_json

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"

Configured = TypeVar("Configured", bound=ConfigMixin)


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


def from_config(cls: type[Configured], config: Mapping[str, Any]) -> Configured:
    """A network or a scheduler of diffusers by its config."""
    return cast(Configured, cls.from_config(dict(config)))  # another type only where asked for what is not used


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
