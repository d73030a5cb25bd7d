"""Adapter weights: only what is trained, as safetensors; and the names of the public ControlVideo model."""

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.common.errors import UserError
from src.common.files import atomic_path
from src.models.backbone import VideoBackbone

FORMAT_VERSION = 2
METADATA_KEY = "posecrafter-adapter"
PROBE_TOLERANCE = 1e-2  # half precision moves weights by 0.4 % at most, another training by far more
_BLOCK = r"(.*transformer_blocks\.\d+)"


def save_adapter(path: str | Path, backbone: VideoBackbone, *, base: str, config: dict | None = None) -> None:
    """Write the trained parameters of `backbone` in float32.

    Args:
        path: a `.safetensors` file; whole or absent, never half-written.
        backbone: the fine-tuned backbone.
        base: what the image model is called, for messages; the model itself is recognised by some of its weights.
        config: whatever should travel with the weights, as JSON.
    """
    state = {name: p.detach().to("cpu", torch.float32).contiguous() for name, p in backbone.trainable_state().items()}
    record = {"version": FORMAT_VERSION, "base": base, "base_probe": _probe(backbone).tolist(), "config": config or {}}
    with atomic_path(path) as temporary:
        # One key: safetensors writes several in random order, and equal adapters are to be equal files.
        save_file(state, temporary, {METADATA_KEY: json.dumps(record)})


def load_adapter(path: str | Path, backbone: VideoBackbone, *, base: str) -> dict:
    """Load trained parameters into `backbone`, strictly, and return the `config` saved with them.

    Raises:
        UserError: the file is absent or not an adapter, belongs to another base model, or its tensors are not
            exactly those that this backbone trains.
    """
    if not Path(path).is_file():
        raise UserError(f"no adapter at {path}: train one with `python -m src.train`, or give the right file")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error})") from error
    if text is None:
        raise UserError(
            f"{path} is no PoseCrafter adapter; public ControlVideo weights load with load_controlvideo_state_dict"
        )
    record = json.loads(text)
    if record["version"] != FORMAT_VERSION:
        raise UserError(f"{path} has adapter format {record['version']}, this version reads {FORMAT_VERSION}")
    expected = torch.tensor(record["base_probe"])
    probe = _probe(backbone)
    if probe.shape != expected.shape or (probe - expected).norm() > PROBE_TOLERANCE * expected.norm():
        raise UserError(
            f"{path} was trained on the base model {record['base']!r}, whose weights are not those of {base!r}: set "
            "model (and model.base) to the one it was trained on"
        )
    _copy_strictly(state, backbone.trainable_state(), str(path))
    return record["config"]


def load_controlvideo_state_dict(
    backbone: VideoBackbone, unet_state: dict[str, Tensor], controlnet_state: dict[str, Tensor]
) -> None:
    """Load complete state dicts of the public ControlVideo model.

    Its names are diffusers' own, with `….attn_temp.*` and `….conv_temp.*` beside each `attn1`, and `conv_temp`
    as a 1×1 convolution.

    Raises:
        UserError: missing or extra tensors, or a wrong shape, with the first names.
    """
    for network, state in ((backbone.unet, unet_state), (backbone.controlnet, controlnet_state)):
        renamed = {_to_ours(name): t.flatten(1) if _is_conv_temp(name, t) else t for name, t in state.items()}
        _copy_strictly(renamed, dict(network.state_dict(keep_vars=True)), "the ControlVideo state dict")


def controlvideo_state_dict(backbone: VideoBackbone) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of `load_controlvideo_state_dict`: (UNet state, ControlNet state) under the public names."""
    states = []
    for network in (backbone.unet, backbone.controlnet):
        renamed = {_from_ours(name): t for name, t in network.state_dict().items()}
        states.append({n: t[..., None, None] if n.endswith("conv_temp.weight") else t for n, t in renamed.items()})
    return states[0], states[1]


def _is_conv_temp(name: str, tensor: Tensor) -> bool:
    return name.endswith("conv_temp.weight") and tensor.ndim == 4


def _to_ours(name: str) -> str:
    return re.sub(_BLOCK + r"\.(attn_temp|conv_temp)\.", r"\1.attn1.processor.temporal.\2.", name)


def _from_ours(name: str) -> str:
    return re.sub(_BLOCK + r"\.attn1\.processor\.temporal\.", r"\1.", name)


def _probe(backbone: VideoBackbone) -> Tensor:
    """A few frozen weights that tell one base model from another, whatever it is called and stored as."""
    networks = (backbone.unet, backbone.controlnet)
    weights = [network.mid_block.resnets[0].conv1.weight.flatten()[:32] for network in networks]
    return torch.cat(weights).detach().to("cpu", torch.float32)


@torch.no_grad()
def _copy_strictly(source: dict[str, Tensor], target: dict[str, Tensor], what: str) -> None:
    missing, extra = sorted(target.keys() - source.keys()), sorted(source.keys() - target.keys())
    wrong = [n for n in source.keys() & target.keys() if source[n].shape != target[n].shape]
    if missing or extra or wrong:
        faults = (("missing", missing), ("unknown", extra), ("of another shape", sorted(wrong)))
        listed = "; ".join(f"{len(names)} {kind} (first: {names[0]})" for kind, names in faults if names)
        raise UserError(f"{what} does not fit this backbone: {listed}")
    for name, tensor in source.items():
        target[name].copy_(tensor)
