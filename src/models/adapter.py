"""Adapter weights: only what is trained, as safetensors; and the names of the public ControlVideo model."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.common.atomic import atomic_path
from src.common.errors import UserError, explained
from src.common.reading import size_in_words
from src.common.typed import typed
from src.models.backbone import VideoBackbone
from src.models.weights_file import MAX_TENSORS, require_finite

FORMAT_VERSION = 2
METADATA_KEY = "posecrafter-adapter"
MAX_METADATA = 2**20  # bytes; ours have some thousands
MAX_BYTES = 2**30  # with Stable Diffusion 1.5 there are 288 million
MAX_HEADER = 2**23  # bytes, names, shapes and metadata
# Of each addition, what stands for having none.
NO_ADDITIONS = {"loras": [], "embeddings": [], "controlnets": [], "clip_skip": 0, "prediction_type": "epsilon"}
PROBE_TOLERANCE = 1e-2  # half precision moves weights by 0.4 % at most, another training by far more
_FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True, kw_only=True)
class AdapterRecord:
    """What an adapter's metadata hold; read from a stranger's file, so nothing in it is more than data.

    Attributes:
        version: of the format.
        base: what the image model was called, for messages.
        base_probe: some of its frozen weights, by which it is recognised.
        additions: what had been put on it (`ImageModel.additions`).
        config: what else travels with the weights.
    """

    version: int
    base: str
    base_probe: list[float]
    additions: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def check_size(backbone: VideoBackbone) -> None:
    """Raise a UserError where what would be trained is more than an adapter holds, so that none could be read again."""
    state = backbone.trainable_state()
    size = 4 * sum(parameter.numel() for parameter in state.values())
    if size + MAX_HEADER > MAX_BYTES or len(state) > MAX_TENSORS:
        raise UserError(
            f"a fine-tune of this model trains {size_in_words(size)} in {len(state)} tensors, more than an adapter "
            f"holds ({size_in_words(MAX_BYTES - MAX_HEADER)} in {MAX_TENSORS}): choose a smaller model"
        )


def save_adapter(
    path: str | Path,
    backbone: VideoBackbone,
    *,
    base: str,
    additions: dict[str, Any] | None = None,
    config: dict | None = None,
) -> None:
    """Write the trained parameters of `backbone` in float32.

    Args:
        path: a `.safetensors` file; whole or absent, never half-written.
        backbone: the fine-tuned backbone.
        base: what the image model is called, for messages; the model itself is recognised by some of its weights.
        additions: what was put on the image model (`ImageModel.additions`).
        config: whatever should travel with the weights, as JSON.

    Raises:
        UserError: a parameter is not finite; nothing is written.
    """
    state = {name: p.detach().to("cpu", torch.float32).contiguous() for name, p in backbone.trainable_state().items()}
    require_finite(state, "the fine-tuned weights", "the fine-tune diverged: take a lower optimizer.lr")
    record = AdapterRecord(
        version=FORMAT_VERSION,
        base=base,
        base_probe=_probe(backbone).tolist(),
        additions=additions or {},
        config=config or {},
    )
    with atomic_path(path) as temporary:
        # One key: safetensors writes several in random order, and equal adapters are to be equal files.
        save_file(state, temporary, {METADATA_KEY: json.dumps(asdict(record))})


def load_adapter(
    path: str | Path, backbone: VideoBackbone, *, base: str, additions: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Load trained parameters into `backbone`, strictly, and return the `config` saved with them.

    Names and shapes are compared before a tensor is read.

    Args:
        additions: what was put on the image model (`ImageModel.additions`): the same as when it was trained.

    Raises:
        UserError: the file is absent or not an adapter, belongs to another base model or to one with other additions,
            its tensors are not exactly those that this backbone trains, or they are not finite.
    """
    expected = backbone.trainable_state()
    with _opened(path) as (file, names, record):
        _require_same_additions(record.additions, additions or {}, path)
        _require_same_base(record, backbone, base, path)
        _require_fit({name: tuple(file.get_slice(name).get_shape()) for name in names}, expected, str(path))
        state = {name: file.get_tensor(name) for name in names}
    require_finite(state, str(path), "its fine-tune diverged: train again with a lower optimizer.lr")
    _copy(state, expected)
    return record.config


def read_adapter(path: str | Path) -> dict[str, Tensor]:
    """The tensors of an adapter, whatever backbone they fit; they stay on disk until they are looked at.

    Raises:
        UserError: the file is absent or not an adapter, or larger than any is.
    """
    with _opened(path) as (file, names, _):
        return {name: file.get_tensor(name) for name in names}


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, list[str], AdapterRecord]]:
    """The file, the names in it and its metadata; what no adapter is, by size and types, is refused."""
    if not Path(path).is_file():
        raise UserError(f"no adapter at {path}: train one with `python -m src.train`, or give the right file")
    try:
        with safe_open(path, "pt") as file:
            record, names = _record((file.metadata() or {}).get(METADATA_KEY), path), list(file.keys())
            if (size := os.stat(path).st_size) > MAX_BYTES or len(names) > MAX_TENSORS:
                raise UserError(f"{path} has {size_in_words(size)} in {len(names)} tensors: no adapter has so many")
            if other := [name for name in names if file.get_slice(name).get_dtype() not in _FLOATS]:
                raise UserError(
                    f"{path} holds {other[0]:.200} as other than floats of 16 bits or more: it is none of ours"
                )
            yield file, names, record
    except (SafetensorError, OSError) as error:
        damaged = UserError(
            f"{path} is not a readable safetensors file ({error}): give its src.train command again, or the right file"
        )
        raise explained(error, path, "read") or damaged from error


def _record(text: str | None, path: str | Path) -> AdapterRecord:
    """The metadata of an adapter, checked.

    Raises:
        UserError: they are not there, too large, damaged or of another version.
    """
    if text is None:
        raise UserError(
            f"{path} is no PoseCrafter adapter; public ControlVideo weights load with load_controlvideo_state_dict"
        )
    if len(text) > MAX_METADATA:
        raise UserError(f"{path} has {len(text)} bytes of metadata, more than {MAX_METADATA}: it is none of ours")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} has damaged metadata ({type(error).__name__}): get the file again") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise UserError(f"{path} has adapter format {version!s:.20}, this version reads {FORMAT_VERSION}")
    try:
        return typed(AdapterRecord, values)
    except UserError as error:
        raise UserError(f"{path} has damaged metadata: {error}") from error


def _require_same_base(record: AdapterRecord, backbone: VideoBackbone, base: str, path: str | Path) -> None:
    expected, probe = torch.tensor(record.base_probe), _probe(backbone)
    near = probe.shape == expected.shape and (probe - expected).norm() <= PROBE_TOLERANCE * expected.norm()
    if not near:
        raise UserError(
            f"{path} was trained on the base model {record.base[:200]!r}, whose weights are not those of {base!r}: set "
            "model (and model.base) to the one it was trained on"
        )


def _require_same_additions(recorded: dict[str, Any], present: dict[str, Any], path: str | Path) -> None:
    for name, nothing in NO_ADDITIONS.items():
        then, now = recorded.get(name, nothing), present.get(name, nothing)
        if _content(then) != _content(now):
            raise UserError(
                f"{path} was trained with model.{name}={then!s:.200}, here it is {now!s:.200}: set it as it was"
            )


def _content(addition: Any) -> Any:
    """An addition without the names of files, which may be moved."""
    if isinstance(addition, list):
        return [{k: v for k, v in one.items() if k != "file"} if isinstance(one, dict) else one for one in addition]
    return addition


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


def _is_conv_temp(name: str, tensor: Tensor) -> bool:
    return name.endswith("conv_temp.weight") and tensor.ndim == 4


def _to_ours(name: str) -> str:
    return re.sub(r"(.*transformer_blocks\.\d+)\.(attn_temp|conv_temp)\.", r"\1.attn1.processor.temporal.\2.", name)


def _probe(backbone: VideoBackbone) -> Tensor:
    """A few frozen weights that tell one base model from another, whatever it is called and stored as."""
    networks = (backbone.unet, backbone.controlnet, *backbone.beside)
    name = "mid_block.resnets.0.conv1.weight"
    weights = [network.get_parameter(name).flatten()[:32] for network in networks]
    return torch.cat(weights).detach().to("cpu", torch.float32)


def _copy_strictly(source: dict[str, Tensor], target: dict[str, Tensor], what: str) -> None:
    _require_fit({name: tuple(tensor.shape) for name, tensor in source.items()}, target, what)
    _copy(source, target)


def _require_fit(source: dict[str, tuple[int, ...]], target: dict[str, Tensor], what: str) -> None:
    missing, extra = sorted(target.keys() - source.keys()), sorted(source.keys() - target.keys())
    wrong = [n for n in source.keys() & target.keys() if source[n] != tuple(target[n].shape)]
    if missing or extra or wrong:
        faults = (("missing", missing), ("unknown", extra), ("of another shape", sorted(wrong)))
        listed = "; ".join(f"{len(names)} {kind} (first: {names[0]:.200})" for kind, names in faults if names)
        raise UserError(f"{what} does not fit this backbone: {listed}")


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
