"""DreamSim's network: the published one of a single branch, OpenCLIP ViT-B/32.

Dimensions: B images, C = 3 channels in RGB order, H x W pixels. Frames are uint8.

Of the published ones this and `clip_vitb32` load from files alone; the ensemble and the DINO branches run code that
torch.hub fetches.
"""

import contextlib
import io
import json
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from eval.networks.base import Network, squeeze_pillow
from src.common.digests import sha256
from src.common.errors import UserError
from src.common.typed import plain, typed

KIND = "open_clip_vitb32"
SIZE = 224
_BACKBONE, _LORA = f"{KIND}_pretrain.pth.tar", f"{KIND}_single_lora"
_CONFIG, _ADAPTERS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
# The backbone has 88 million parameters.
MAX_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class _Adapter:
    """What DreamSim takes of the adapter's settings; peft is shown no other."""

    r: int
    lora_alpha: float
    lora_dropout: float
    bias: str
    target_modules: tuple[str, ...] | str


class DreamSimNetwork(Network):
    """The package's own model, version 0.2.

    Args:
        path: the published zip of backbone and adapter. It has no published checksum, so nothing in it is run, and its
            names are not taken for paths.
        device: the model keeps some of its weights where it was made.

    Raises:
        UserError: it is no such zip.
    """

    def __init__(self, path: Path, *, device: torch.device) -> None:
        # Seconds of imports that only those wait for who ask for this network.
        from dreamsim import dreamsim

        super().__init__(f"dreamsim-{KIND}", sha256(path))
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            # dreamsim lays the adapter twice, the second with the weights.
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            try:
                _unpack(path, Path(folder))
                self.model: nn.Module = dreamsim(device=str(device), cache_dir=folder, dreamsim_type=KIND)[0]
            except (zipfile.BadZipFile, KeyError, RuntimeError, ValueError, OSError) as error:
                raise UserError(f"{path} is not DreamSim's {KIND}: put the published file in its place") from error

    def forward(self, generated_BCHW: Tensor, real_BCHW: Tensor) -> Tensor:
        """Distances (B,) float32 of (B, 3, H, W) uint8 RGB pairs."""
        return self.model(squeeze_pillow(generated_BCHW, SIZE), squeeze_pillow(real_BCHW, SIZE))


def _unpack(path: Path, folder: Path) -> None:
    """Lay what DreamSim reads into a folder; raises KeyError of what lacks."""
    (folder / _LORA).mkdir()
    with zipfile.ZipFile(path) as archive:
        weights = next((name for name in _ADAPTERS if f"{_LORA}/{name}" in archive.namelist()), _ADAPTERS[0])
        wanted = [_BACKBONE, f"{_LORA}/{weights}", f"{_LORA}/{_CONFIG}"]
        if (size := sum(archive.getinfo(name).file_size for name in wanted)) > MAX_BYTES:
            raise UserError(f"{path} unpacks to {size} bytes, more than the {MAX_BYTES} that are read")
        for name in wanted:
            (folder / name).write_bytes(archive.read(name))
    config = folder / _LORA / _CONFIG
    said = json.loads(config.read_text())
    adapter = typed(_Adapter, {key: said[key] for key in _Adapter.__dataclass_fields__})
    config.write_text(json.dumps(plain(adapter) | {"peft_type": "LORA"}))
