"""MagicAnimate's weights from the layout in which they are published (section 2).

    <folder>/appearance_encoder/            config.json, diffusion_pytorch_model.safetensors
    <folder>/densepose_controlnet/          the same
    <folder>/temporal_attention/            temporal_attention.safetensors, or .ckpt as published

The image model, with its VAE and its text encoder, is Stable Diffusion 1.5's.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file

from src.baselines.magicanimate.model import MagicAnimate
from src.baselines.magicanimate.motion import build_video_unet
from src.baselines.magicanimate.names import TemporalFile, max_positions, sort_temporal_file
from src.baselines.magicanimate.reference_attention import AppearanceEncoder
from src.baselines.magicanimate.settings import MAX_POSITIONS, NetworkSettings
from src.baselines.weights import CONFIG, WEIGHTS, from_config, load_strictly, read_config
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.errors import UserError
from src.models.folders import download_command
from src.models.weights_file import read_tensors

log = logging.getLogger(__name__)
OPTION = "method.weights"
ORIGIN = f"of zcxu-eric/MagicAnimate ({download_command('zcxu-eric/MagicAnimate')}), {OPTION}=FOLDER"
APPEARANCE, CONTROLNET, TEMPORAL = "appearance_encoder", "densepose_controlnet", "temporal_attention"


@dataclass(frozen=True)
class MagicAnimateFiles:
    """Where the parts of the published weights lie.

    Attributes:
        appearance, controlnet: folders with a config and weights.
        temporal: the motion file.
    """

    appearance: Path
    controlnet: Path
    temporal: Path

    def weights(self) -> list[Path]:
        """The files that hold weights, for provenance."""
        return [self.appearance / WEIGHTS, self.controlnet / WEIGHTS, self.temporal]


def find_files(folder: str | Path) -> MagicAnimateFiles:
    """Find every part before any is read.

    Raises:
        UserError: what is missing, all of it in one line.
    """
    folder = Path(folder)
    appearance = folder / APPEARANCE
    # The public loader asks for a folder of that name below a path that already ends so.
    if (appearance / APPEARANCE / CONFIG).is_file():
        appearance = appearance / APPEARANCE
    candidates = [folder / TEMPORAL / f"{TEMPORAL}{suffix}" for suffix in (".safetensors", ".ckpt")]
    temporal = next((path for path in candidates if path.is_file()), candidates[1])
    files = MagicAnimateFiles(appearance, folder / CONTROLNET, temporal)
    needed = [part / name for part in (files.appearance, files.controlnet) for name in (CONFIG, WEIGHTS)]
    missing = [str(path.relative_to(folder)) for path in (*needed, temporal) if not path.is_file()]
    if missing:
        raise UserError(f"MagicAnimate's weights in {folder} lack {', '.join(missing)}: expected the files {ORIGIN}")
    return files


def load_magicanimate(
    folder: str | Path, unet: UNet2DConditionModel, *, settings: NetworkSettings, dtype: torch.dtype = torch.float32
) -> MagicAnimate:
    """Build MagicAnimate from its published weights and an image model's UNet.

    Args:
        folder: see the head of this file.
        unet: Stable Diffusion 1.5's; its spatial weights are replaced by those of the motion file, if that has any.
        dtype: of all weights.

    Raises:
        UserError: a file is missing or does not fit.
    """
    files = find_files(folder)
    temporal = read_temporal(files.temporal, unet)
    if temporal.spatial:
        log.info(
            "%s replaces %d of the %d tensors of the image model's UNet",
            *(files.temporal.name, len(temporal.spatial), len(unet.state_dict())),
        )
    if temporal.ignored:
        log.info("%s: not used: %s", files.temporal.name, counted(len(temporal.ignored), "other tensor"))

    with torch.device("meta"):
        appearance = read_config(files.appearance, UNet2DConditionModel, origin=ORIGIN)
        encoder = AppearanceEncoder(from_config(UNet2DConditionModel, appearance))
        controlnet = from_config(ControlNetModel, read_config(files.controlnet, ControlNetModel, origin=ORIGIN))
    for network, part in ((encoder.unet, files.appearance), (controlnet, files.controlnet)):
        load_strictly(network, read_tensors(str(part / WEIGHTS), option=OPTION), what=str(part / WEIGHTS), dtype=dtype)
    video_unet = build_video_unet(
        unet,
        temporal.spatial,
        temporal.motion,
        what=str(files.temporal),
        max_positions=_positions(temporal),
        dtype=dtype,
    )
    return MagicAnimate(video_unet, encoder, controlnet, settings=settings)


def read_temporal(path: Path, unet: UNet2DConditionModel) -> TemporalFile:
    """What the motion file gives to this UNet, by the public loader's rule."""
    return sort_temporal_file(read_tensors(str(path), option=OPTION), set(unet.state_dict()))


def convert_temporal(source: Path, target: Path, unet: UNet2DConditionModel) -> TemporalFile:
    """Write what of the published motion file is used as safetensors, under its public names; returns that.

    Args:
        source: the published `.ckpt`.
        target: a `.safetensors` file, whole or not at all; `find_files` prefers it.
    """
    temporal = read_temporal(source, unet)
    with atomic_path(target) as temporary:
        save_file({name: t.contiguous().clone() for name, t in temporal.public.items()}, temporary)
    return temporal


def _positions(temporal: TemporalFile) -> int:
    return max_positions(temporal.motion, MAX_POSITIONS)
