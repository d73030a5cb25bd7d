"""`python -m src.convert weights=<MagicAnimate>`: its pickled motion file to safetensors, saying what it replaces."""

import json
import sys
from dataclasses import dataclass

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.common.errors import UserError
from src.common.typed import FileName
from src.models.settings import ModelSettings

# What some models set beside themselves, of use to a run alone.
OF_A_RUN = ("data", "trainer", "sampling")


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """What `conf/convert.yaml` describes.

    Attributes:
        weights: folder with MagicAnimate's published files.
        model: the image model whose weights the motion file may replace; of it the configs alone are read.
    """

    weights: FileName
    model: ModelSettings


def convert(settings: ConvertSettings) -> dict[str, object]:
    """Write `temporal_attention.safetensors` beside the `.ckpt`; returns what is in it, as plain values.

    Raises:
        UserError: a file of the published layout is missing, is no motion file, or was converted before.
    """
    import torch
    from diffusers import UNet2DConditionModel

    from src.baselines.magicanimate.loading import convert_temporal, find_files
    from src.models.shipped import from_config, shipped_configs

    source = find_files(settings.weights).temporal
    if source.suffix == ".safetensors":
        raise UserError(f"{source} is there already: move it away to convert again")
    folder = settings.model.config_folder() or shipped_configs(settings.model.configs)
    with torch.device("meta"):
        unet = from_config(UNet2DConditionModel, folder / "unet")
    target = source.with_suffix(".safetensors")
    found = convert_temporal(source, target, unet)
    return {
        "source": str(source),
        "target": str(target),
        "motion_tensors": len(found.motion),
        "replaced_tensors": len(found.spatial),
        "tensors_of_the_image_model": len(unet.state_dict()),
        "not_used": len(found.ignored),
        "first_not_used": sorted(found.ignored)[:5],
    }


@entry("convert", ConvertSettings)
def main(cfg: DictConfig) -> None:
    """Command line; the summary goes to standard output as JSON."""
    settings = settings_of(ConvertSettings, cfg, without=OF_A_RUN)
    sys.stdout.write(json.dumps(convert(settings), indent=2) + "\n")


if __name__ == "__main__":
    main()
