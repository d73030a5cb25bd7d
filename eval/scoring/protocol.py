"""Evaluation protocols: every choice that changes a number, named, checked and recorded with the result.

`conf/protocol/*.yaml` holds their values and says what each means.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from src.common.errors import UserError


@dataclass(frozen=True)
class SSIMProtocol:
    window: Literal["gaussian", "uniform"]
    color: Literal["rgb", "gray"]


@dataclass(frozen=True)
class PSNRProtocol:
    arithmetic: Literal["float64", "uint8"]
    identical: Literal["exclude"] | float


@dataclass(frozen=True)
class LPIPSProtocol:
    backbone: Literal["alex", "vgg"]
    input_range: tuple[float, float]


@dataclass(frozen=True)
class MSEPProtocol:
    extractor: str


@dataclass(frozen=True)
class FIDProtocol:
    network: Literal["inception-torchscript", "inception-pytorch"]


@dataclass(frozen=True)
class CLIPProtocol:
    model: Literal["openai/clip-vit-base-patch32"]


@dataclass(frozen=True)
class FVDProtocol:
    network: Literal["i3d-torchscript", "i3d-pytorch"]
    clip_length: int
    stride: int
    drop_last: bool


@dataclass(frozen=True)
class Protocol:
    """A complete set of choices. Equal protocols give comparable numbers, others never share a table."""

    name: str
    resolution: int | None
    resize: Literal["bicubic", "lanczos", "bilinear"] | None
    pooling: Literal["frames", "videos"]
    reference_frame: Literal["first", "selected"]
    ssim: SSIMProtocol
    psnr: PSNRProtocol
    lpips: LPIPSProtocol
    mse_p: MSEPProtocol
    fid: FIDProtocol
    clip: CLIPProtocol
    fvd: FVDProtocol

    def __post_init__(self) -> None:
        if (self.resolution is None) != (self.resize is None):
            raise UserError(
                "protocol.resolution and protocol.resize go together: set both, or neither to score frames at their "
                f"own size; got resolution={self.resolution}, resize={self.resize}"
            )
        for name, value, least in (
            ("resolution", self.resolution or 1, 1),
            ("fvd.clip_length", self.fvd.clip_length, 10),  # below 10 frames I3D's temporal pooling is undefined
            ("fvd.stride", self.fvd.stride, 1),
        ):
            if value < least:
                raise UserError(f"protocol.{name} must be at least {least}, got {value}")
        low, high = self.lpips.input_range
        if low >= high:
            raise UserError(f"protocol.lpips.input_range must rise, got [{low}, {high}]")

    @classmethod
    def from_config(cls, config: DictConfig | Mapping[str, Any]) -> "Protocol":
        """Build from the Hydra group or from what `as_dict` returned.

        Raises:
            UserError: a key is missing, unknown or of a value that is not among the choices.
        """
        values = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else config
        return _parse(cls, values, "protocol")

    def as_dict(self) -> dict[str, Any]:
        """JSON values; `from_config` reads them back."""
        return dataclasses.asdict(self) | {"lpips": {**vars(self.lpips), "input_range": list(self.lpips.input_range)}}

    def differences(self, other: "Protocol") -> list[str]:
        """The choices in which two protocols differ, as `key: this | other`; names do not count."""
        mine, theirs = _flatten(self.as_dict()), _flatten(other.as_dict())
        return [f"{key}: {mine[key]} | {theirs[key]}" for key in mine if key != "name" and mine[key] != theirs[key]]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def _parse(kind: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, Mapping) or set(value) != set(hints):
            given = sorted(value) if isinstance(value, Mapping) else value
            raise UserError(f"{key} must have exactly the keys {', '.join(hints)}; got {given}")
        return kind(**{name: _parse(hint, value[name], f"{key}.{name}") for name, hint in hints.items()})
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(typing.get_args(kind)):
            raise UserError(f"{key} must be a list of {len(typing.get_args(kind))} values, got {value}")
        return tuple(_parse(item, entry, key) for item, entry in zip(typing.get_args(kind), value, strict=True))
    choices = _choices(kind)
    if value in [choice for choice in choices if not isinstance(choice, type)]:
        return value
    for choice in choices:
        if choice is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(choice, type) and type(value) is choice:
            return value
    names = ", ".join(choice.__name__ if isinstance(choice, type) else str(choice) for choice in choices)
    raise UserError(f"{key} must be one of: {names}; got {value!r}")


def _choices(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is Literal:
        return list(typing.get_args(kind))
    if typing.get_args(kind):
        return [choice for part in typing.get_args(kind) for choice in _choices(part)]
    return [None if kind is type(None) else kind]
