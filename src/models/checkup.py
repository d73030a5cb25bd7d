"""Whether the weights that settings name are there and fit, without a network and without reading a tensor."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from src.common.errors import DamagedFile, UserError
from src.common.reading import read_json
from src.common.system import GIB
from src.models.control_images import DETECTORS, detector_file
from src.models.folders import WEIGHTS, download_command, is_hub_id
from src.models.scheduler import ddim_scheduler, read_scheduler_config
from src.models.settings import ControlNetSettings, ModelSettings
from src.models.sources import beside_option, check_sources
from src.models.weights_file import is_weights_file, tensor_shapes

_OF_THE_BASE = {
    "unet": ("config.json",),
    "vae": ("config.json",),
    "text_encoder": ("config.json",),
    "tokenizer": ("tokenizer.json or vocab.json",),
    "scheduler": ("scheduler_config.json",),
}
_WITHOUT_WEIGHTS = ("tokenizer", "scheduler")


def check_weights(settings: ModelSettings) -> dict[str, Any]:
    """What is there, what is missing and how it comes here, and whether it fits together.

    Returns:
        `files`: one entry for each source with `option`, `name`, `found` (a path or None), `missing` (paths inside
        it) and `get` (a command, where something is missing); `fits`: true, or null where that cannot be said, with
        `why`; `problems`: lines.
    """
    if settings.random_seed is not None:
        return {"files": [], "fits": True, "why": "random weights of shipped configs", "problems": []}
    own = {} if settings.controlnet is not None else {"controlnet": ("config.json",)}
    parts = {name: needed for name, needed in (_OF_THE_BASE | own).items() if name != "vae" or settings.vae is None}
    files = [_source("model.base", settings.base, parts)]
    if settings.controlnet is not None:
        files.append(_source("model.controlnet", settings.controlnet, {"": ("config.json",)}))
    for number, net in enumerate(settings.controlnets):
        files.append(_source(beside_option(number), net.path, {"": ("config.json",)}))
        files += [] if net.condition not in DETECTORS else [_detector(number, net)]
    if settings.vae is not None:
        files.append(_source("model.vae", settings.vae, {"": ("config.json",)}))
    files += [_source("model.loras", lora.path, {}) for lora in settings.loras]
    files += [_source("model.embeddings", path, {}) for path in settings.embeddings]
    problems = [
        f"{f['option']}={f['name']}: {', '.join(f['missing'])} missing; {f['get']}" for f in files if f["missing"]
    ]
    fits, why = None, "not all files are here"
    if not problems:
        fits, why = _fits(settings, {file["option"]: file["found"] for file in files})
        problems += [] if fits else [why]
    return {"files": files, "fits": fits, "why": why, "problems": problems}


def _fits(settings: ModelSettings, found: dict[str, str]) -> tuple[bool, str]:
    here = replace(
        settings,
        base=found["model.base"],
        controlnet=found.get("model.controlnet"),
        controlnets=[replace(net, path=found[beside_option(n)]) for n, net in enumerate(settings.controlnets)],
        vae=found.get("model.vae"),
    )
    try:
        structures = check_sources(here)
        if not is_weights_file(here.base):
            overrides = {
                "prediction_type": settings.prediction_type,
                "zero_terminal_snr": settings.zero_terminal_snr,
            }
            ddim_scheduler(read_scheduler_config(here.base), where=f"model.base={settings.base}", **overrides)
    except UserError as error:
        return False, str(error)
    nets = f"{len(settings.controlnets) + 1} ControlNets" if settings.controlnets else "ControlNet"
    return True, f"UNet and {nets} of {structures['unet'].family}"


def _detector(number: int, net: ControlNetSettings) -> dict[str, Any]:
    """The file by which condition images are found in frames."""
    path, name = detector_file(net), DETECTORS[net.condition]
    entry: dict[str, Any] = {"option": f"model.controlnets[{number}].detector", "name": net.detector, "missing": []}
    if path is None:
        get = f"{download_command('lllyasviel/Annotators', name)}, or give condition=images"
        return entry | {"found": None, "missing": [name], "get": get}
    return entry | {"found": str(path), "get": None, "gib": _gib([path])}


def _source(option: str, name: str, parts: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """One source: a file, a folder, or a hub id, of which the local copy is looked at."""
    entry: dict[str, Any] = {"option": option, "name": name, "found": None, "missing": [], "get": None}
    path = Path(name)
    if is_weights_file(name) or (path.is_file() and not parts):
        entry["get"] = "give the path of a file that is there"
        if not path.is_file():
            return entry | {"missing": [name]}
        try:
            tensor_shapes(name, option=option)
        except UserError as error:
            return entry | {"missing": [f"a readable file ({error})"], "get": "download it again"}
        return entry | {"found": name, "gib": _gib([path])}
    folder = path if path.is_dir() else _cached(name)
    fetched = download_command(name) if is_hub_id(name) else "give the path of a folder that is there"
    entry["get"] = "complete the folder" if path.is_dir() else fetched
    if folder is None:
        return entry | {"missing": ["all of it"]}
    missing = [line for part, needed in parts.items() for line in _missing(folder, part, needed)]
    sizes = [file for file in folder.rglob("*") if file.is_file()]
    return entry | {"found": str(folder), "missing": missing, "gib": _gib(sizes)}


def _missing(folder: Path, part: str, needed: tuple[str, ...]) -> list[str]:
    """What a part lacks; a ControlNet or a VAE may be the folder itself."""
    where = folder / part
    lines = [
        str(Path(part) / names) for names in needed if not any((where / name).is_file() for name in names.split(" or "))
    ]
    if part in _WITHOUT_WEIGHTS:
        return lines
    files = [file for file in where.iterdir()] if where.is_dir() else []
    weights = [file.name for file in files if WEIGHTS.fullmatch(file.name)]
    for index in (file for file in files if ".index." in file.name and file.suffix == ".json"):
        shards = _shards(index)
        lines += [str(Path(part) / shard) for shard in sorted(shards - set(weights))]
    return lines if weights else [*lines, str(Path(part) / "weights (.safetensors)")]


def _shards(index: Path) -> set[str]:
    """Names of the files that an index lists."""
    listed = read_json(index)
    names = listed.get("weight_map") if isinstance(listed, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DamagedFile(f"{index} lists no weights: download it again")
    return set(names.values())


def _cached(repo: str) -> Path | None:
    """The local copy of a hub repository, if there is one; the network is not asked."""
    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError):
        return None


def _gib(files: list[Path]) -> float:
    return round(sum(file.stat().st_size for file in files) / GIB, 3)
