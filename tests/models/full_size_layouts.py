"""`python -m tests.models.full_size_layouts [CASE …]`: full-size files in each layout, loaded and compared.

Not part of the suite: each case writes up to 6 GB into a temporary folder and holds two models. Weights are random;
what is shown is that every tensor arrives where it belongs. On one shared core every case had all 1,470 tensors equal:

    single_file        55 CPU seconds, 12.4 GB of memory at most
    pruned_half        54, 12.6
    folder_of_variant  42, 13.0
    sharded_folder     42, 12.1

Small files with the same names, and the layouts that are not here: `test_layouts.py`, `test_loading.py`.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from src.models.image_model import ImageModel
from src.models.loading import random_image_model
from tests.models.ldm_names import to_ldm, to_ldm_controlnet
from tests.models.loaded import loaded_model

log = logging.getLogger(__name__)
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "controlnet", "scheduler")


def single_file(model: ImageModel, folder: Path) -> ImageModel:
    """A checkpoint with EMA as `.ckpt` of Lightning, the ControlNet as its authors' `.pth`."""
    tensors = to_ldm(model)
    # Two tensors of the moving average stand for the 686 of a real file: the loader has to leave them alone.
    ema = {f"model_ema.{i}": torch.zeros(4) for i in range(120)}
    torch.save({"state_dict": tensors | ema, "global_step": 470_000}, folder / "v1-5-ema.ckpt")
    del tensors
    torch.save(to_ldm_controlnet(model.controlnet), folder / "control_v11p_sd15_openpose.pth")
    return loaded_model(str(folder / "v1-5-ema.ckpt"), str(folder / "control_v11p_sd15_openpose.pth"))


def pruned_half(model: ImageModel, folder: Path) -> ImageModel:
    """Half precision in one `.safetensors` without a VAE, ControlNet likewise, and the VAE in a file of its own."""
    for part in model.networks.values():
        part.half().float()
    whole = to_ldm(model)
    vae = {n.removeprefix("first_stage_model."): t for n, t in whole.items() if n.startswith("first_stage_model.")}
    rest = {name: _half(tensor) for name, tensor in whole.items() if not name.startswith("first_stage_model.")}
    save_file(rest, folder / "pruned-fp16.safetensors")
    save_file(vae, folder / "vae-ft-mse-840000-ema-pruned.safetensors")
    del whole, rest, vae
    save_file(
        {name: _half(tensor) for name, tensor in to_ldm_controlnet(model.controlnet).items()},
        folder / "control_v11p_sd15_openpose_fp16.safetensors",
    )
    return loaded_model(
        str(folder / "pruned-fp16.safetensors"),
        str(folder / "control_v11p_sd15_openpose_fp16.safetensors"),
        vae=str(folder / "vae-ft-mse-840000-ema-pruned.safetensors"),
    )


def folder_of_variant(model: ImageModel, folder: Path) -> ImageModel:
    """A diffusers folder that holds `fp16` files alone."""
    for part in model.networks.values():
        part.half()
    for name in PARTS:
        variant = {"variant": "fp16"} if name in model.networks else {}
        getattr(model, name).save_pretrained(folder / name, **variant)
    for part in model.networks.values():
        part.float()
    return loaded_model(str(folder))


def sharded_folder(model: ImageModel, folder: Path) -> ImageModel:
    """A diffusers folder whose weights come in several files."""
    for name in PARTS:
        shards = {"max_shard_size": "1GB"} if name in model.networks else {}
        getattr(model, name).save_pretrained(folder / name, **shards)
    return loaded_model(str(folder))


CASES: dict[str, Callable[[ImageModel, Path], ImageModel]] = {
    case.__name__: case for case in (single_file, pruned_half, folder_of_variant, sharded_folder)
}


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def main(names: list[str]) -> None:
    """Run the cases; raises AssertionError at the first tensor that differs."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in names or CASES:
        started = time.perf_counter()
        model = random_image_model("sd15", base="full", seed=1)
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            loaded = CASES[name](model, Path(folder))
            count = 0
            for part, network in model.networks.items():
                expected, found = network.state_dict(), loaded.networks[part].state_dict()
                assert expected.keys() == found.keys(), (name, part)
                for key, tensor in expected.items():
                    assert torch.equal(tensor, found[key]), (name, part, key)
                count += len(expected)
        log.info("%s: %d tensors equal, %.0f s", name, count, time.perf_counter() - started)
        del model, loaded


if __name__ == "__main__":
    main(sys.argv[1:])
