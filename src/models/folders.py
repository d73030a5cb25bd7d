"""Parts of a model in diffusers' layout: a local folder or a hub id with a config and weights for each part."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from src.common.arrays import check_packed
from src.common.counting import counted
from src.common.errors import DamagedFile, UserError
from src.common.once import say_once
from src.common.reading import MEBIBYTE, read_json, read_text
from src.models.weights_file import is_weights_file

log = logging.getLogger(__name__)
VAES = {cls.__name__: cls for cls in (AutoencoderKL, AutoencoderTiny, AutoencoderDC)}
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)"
)


@contextlib.contextmanager
def clear_errors(option: str, name: str, expected: str, *, mend: str | None = None) -> Iterator[None]:
    """Turn the many errors of a failed load into one line that says which weights, where from, and which option.

    Args:
        mend: what to do where they cannot be fetched; None: what helps with an image model.
    """
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "meta tensor" in reason:  # what the libraries say of a tensor that a file did not hold
            raise UserError(f"{option}={name} lacks tensors that {expected} has: download it again") from error
        if is_weights_file(name):
            raise UserError(f"{option}={name} could not be read as {expected}: {reason:.300}") from error
        if not Path(name).exists() and not is_hub_id(name):
            raise UserError(f"{option}={name}: there is no such folder or file: expected {expected}") from error
        wanted = f"a local folder, a single file of weights or a hub id with {expected}"
        advice = mend or (
            f"Download it where there is a network ({download_command(name)}) and set {option}=FOLDER, or use "
            "model=mini, which needs no download"
        )
        if Path(name).is_dir():
            wanted, advice = f"a folder with {expected}", "Complete the folder"
        raise UserError(
            f"{option}={name} could not be loaded: expected {wanted}. {advice}. The library says: {reason:.300}"
        ) from error


def is_hub_id(name: str) -> bool:
    """Whether this can be a repository's name on the hub; else it is a path."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def download_command(name: str, *files: str) -> str:
    """The command line that fetches a repository of the hub, or files of it."""
    return " ".join(("hf download", name, *files))


def part_config(name: str, part: str, *, option: str) -> dict[str, Any]:
    """The config of one part of a folder or hub id, which is small, as plain data.

    Args:
        name: holds the part itself, or the subfolder `part` with it.
        part: `unet`, `vae` or `controlnet`.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if not Path(name).is_dir() and is_hub_id(name):
        # Gigabytes, or minutes of tries without a network.
        say_once(log, logging.INFO, f"{option}={name}: what is not here yet is fetched from its hub")
    cls = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "controlnet": ControlNetModel}[part]
    with clear_errors(option, name, f"the config of its {part}"):
        return dict(cls.load_config(name, subfolder=_subfolder(name, part)))


def text_config(base: str) -> CLIPTextConfig:
    """The config of the text encoder of a folder or hub id."""
    with clear_errors("model.base", base, "the config of its text_encoder"):
        return CLIPTextConfig.from_pretrained(base, subfolder="text_encoder")


def check_pipeline(base: str) -> None:
    """Refuse a local folder that says itself to be another pipeline than Stable Diffusion's.

    Raises:
        UserError: names the pipeline that it is.
    """
    index = Path(base) / "model_index.json"
    if Path(base).is_dir() and not (Path(base) / "unet").is_dir():
        found = (
            re.search(r'"_class_name"\s*:\s*"(\w+)"', read_text(index, max_bytes=MEBIBYTE)) if index.is_file() else None
        )
        what = f"a {found[1]}" if found else "a folder without the subfolder unet"
        raise UserError(
            f"model.base={base} is {what}: expected Stable Diffusion 1.x with the folders vae, text_encoder, "
            "tokenizer, unet and scheduler"
        )


def vae_class(config: dict[str, Any], where: str) -> type:
    """The class of a VAE by its config.

    Raises:
        UserError: it is none of `VAES`.
    """
    name = config.get("_class_name", "AutoencoderKL")
    if name not in VAES:
        raise UserError(f"{where} is a {name}: supported are {', '.join(VAES)}")
    return VAES[name]


def load_part(cls: type, name: str, part: str, *, option: str, variant: str | None) -> Any:
    """A network of a folder or hub id in float32, with every tensor that it needs.

    Args:
        cls: its class; part: subfolder, unless `name` holds the part itself.
        variant: of the weights' file names, such as `fp16`; None: the plain ones, or the variant that is there alone.

    Raises:
        UserError: weights are missing, wholly or in part, or cannot be read.
    """
    subfolder = _subfolder(name, part)
    with clear_errors(option, name, f"weights of its {part}"):
        for attempt in (candidates := _variants(name, subfolder, variant, option)):
            _check_pickled(name, subfolder, attempt, option)
            try:
                network, info = cls.from_pretrained(
                    name, subfolder=subfolder, variant=attempt, torch_dtype=torch.float32, output_loading_info=True
                )
                break
            except OSError:
                if attempt == candidates[-1]:
                    raise
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{option}={name}: the weights of its {part} lack {counted(len(missing), 'tensor')} (first: {missing[0]}): "
            "download it again"
        )
    # transformers keeps the precision of the file; half precision is a choice of the run, not of the file.
    return network.float()


def _check_pickled(name: str, subfolder: str, variant: str | None, option: str) -> None:
    """Refuse weights of a local part that take more memory than they look, of those that the libraries would load."""
    ending = "" if variant is None else f".{variant}"

    def there(file: str) -> list[Path]:
        # diffusers looks beside the part's folder too.
        return [path for path in {Path(name, file), Path(name, subfolder, file)} if path.is_file()]

    pickled = there("adapter_model.bin")  # what the text encoder's config, or an adapter's beside it, may ask for
    for stem, safe in (("diffusion_pytorch_model",) * 2, ("pytorch_model", "model")):
        if not there(f"{safe}{ending}.safetensors"):
            pickled += there(f"{stem}{ending}.bin")
    # An index names files as it likes, and goes before all others.
    for index in Path(name, subfolder).glob("*.index*.json"):
        content = read_json(index)
        if not isinstance(content, dict) or not isinstance(content.get("weight_map"), dict):
            raise UserError(f"{option}={index} is no index of weights, which names a file for each tensor (weight_map)")
        named = {str(shard) for shard in content["weight_map"].values()}
        pickled += [path for shard in named if not shard.endswith(".safetensors") for path in there(shard)]
    for path in pickled:
        try:
            check_packed(path)
        except DamagedFile as error:
            raise UserError(f"{option}={error}: convert it to safetensors") from error
        except UserError:
            raise
        except ValueError as error:
            raise UserError(
                f"{option}={path} is not readable as weights ({error!s:.100}): download it again, or in a clone give "
                "`git lfs pull`"
            ) from error


def load_text(base: str, variant: str | None) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """Text encoder and tokenizer of a folder or hub id."""
    encoder = load_part(CLIPTextModel, base, "text_encoder", option="model.base", variant=variant)
    with clear_errors("model.base", base, "the tokenizer's vocab.json and merges.txt"):
        return encoder, CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")


def _subfolder(name: str, part: str) -> str:
    """Where the part lies: `name` may be the part itself, as a downloaded VAE or ControlNet is."""
    if Path(name).is_dir():
        return "" if (Path(name) / "config.json").is_file() else part
    if is_weights_file(name):
        raise UserError(f"{name}: there is no such file")
    if part in ("vae", "controlnet"):
        try:
            AutoencoderKL.load_config(name)
            return ""
        except OSError:
            return part
    return part


def _variants(name: str, subfolder: str, asked: str | None, option: str) -> list[str | None]:
    """Variants of the weights to try, the first that is there counts."""
    folder = Path(name) / subfolder
    if not Path(name).is_dir():
        return list(dict.fromkeys([asked, None, "fp16"]))
    matches = [WEIGHTS.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    there = {match["variant"] for match in matches if match}
    if asked in there or None in there or not there:
        return [asked if asked in there else None]
    if len(there) > 1:
        listed = " or ".join(sorted(there))
        raise UserError(f"{option}={name}: {subfolder or 'it'} holds several variants: set model.variant to {listed}")
    return [there.pop()]
