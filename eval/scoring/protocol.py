"""Evaluation protocols: every choice that changes a number, named, checked and recorded with the result.

`conf/protocol/*.yaml` holds their values and says what each means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from src.common.digests import digest
from src.common.errors import UserError
from src.common.paths import CONF_DIR, choices
from src.common.reading import read_yaml
from src.common.typed import check_choice, plain, typed
from src.media.pictures import Resize

_FOLDER = CONF_DIR / "protocol"


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


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A complete set of choices. Equal protocols give comparable numbers, others never share a table.

    Attributes:
        name: in tables and in the names of results.
        follows: whose code, of which date, computes the same.
    """

    name: str
    follows: str = ""
    resolution: int | None
    resize: Resize | None
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
                f"own size; got {'resize' if self.resolution is None else 'resolution'} alone"
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

    def content(self) -> dict[str, Any]:
        """What decides about numbers: all but the name and what is said of the code that it follows."""
        return {key: value for key, value in plain(self).items() if key not in ("name", "follows")}

    def label(self) -> str:
        """Its name, and where it is not as it ships under that name, a digest of what it holds."""
        ships = self.name in shipped_protocols()
        if ships and self.changes() == []:
            return self.name
        return f"{self.name}-{'changed-' if ships else ''}{digest(self.content())[:6]}"

    def changes(self) -> list[str]:
        """In what it differs from the one that ships under its name, as `key: shipped | this`; nothing of others."""
        return shipped_protocol(self.name).differences(self) if self.name in shipped_protocols() else []

    def check_extractor(self, given: str) -> None:
        """Refuse poses by another extractor than this protocol's.

        Args:
            given: the extractor's name.

        Raises:
            UserError: offers first the one that was asked for.
        """
        wanted = self.mse_p.extractor
        if given == wanted:
            return
        # Whoever named one in the protocol asked for that; else what departs from it is pose=.
        named = any(change.startswith("mse_p.extractor:") for change in self.changes())
        first, second = (wanted, given) if named else (given, wanted)
        raise UserError(
            f"protocol {self.label()} takes poses by {wanted}, but pose={given}: say the same in both, "
            f"pose={first} protocol.mse_p.extractor={first}, or pose={second} protocol.mse_p.extractor={second}"
        )

    def differences(self, other: "Protocol") -> list[str]:
        """The choices in which two protocols differ, as `key: this | other`; names do not count."""
        mine, theirs = _flatten(plain(self)), _flatten(plain(other))
        return [
            f"{key}: {mine[key]} | {theirs[key]}"
            for key in mine
            if key not in ("name", "follows") and mine[key] != theirs[key]
        ]


def shipped_protocols() -> tuple[str, ...]:
    """The names in `conf/protocol`: a name in a result may be anything, also a way out of that folder."""
    return tuple(choices("protocol"))


def shipped_protocol(name: str) -> Protocol:
    """The protocol that ships under a name.

    Raises:
        UserError: there is none.
    """
    check_choice("protocol", name, shipped_protocols())
    return typed(Protocol, read_yaml(_FOLDER / f"{name}.yaml"), "protocol")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
