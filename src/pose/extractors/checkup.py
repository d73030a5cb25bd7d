"""Whether the weights of a pose extractor are there, without a network and without reading them."""

import importlib.util
from pathlib import Path
from typing import Any, assert_never
from urllib.parse import urlparse

from src.common.paths import MINI_WEIGHTS
from src.pose.extractors.settings import (
    DWPoseSettings,
    ExtractorSettings,
    FileSettings,
    MediaPipeSettings,
    MiniSettings,
)

_BODY_MODELS = ("lite", "full", "heavy")  # of MediaPipe, by pose.model_complexity
Entry = dict[str, Any]


def check_poses(settings: ExtractorSettings) -> dict[str, Any]:
    """What is there, what is missing and how it comes here.

    Returns:
        `extractor`; `files`: one entry for each with `option`, `name`, `found` (a path or None), `missing` and, where
        it is, `get`; `problems`: lines.
    """
    match settings:
        case DWPoseSettings():
            files = [_onnx(option, getattr(settings, option)) for option in ("detector", "estimator")]
        case MediaPipeSettings():
            files = [_body_model(settings.model_complexity)]
        case FileSettings(path=None):
            files = []
        case FileSettings():
            files = [_entry("path", str(settings.path), Path(str(settings.path)), "name one that is")]
        case MiniSettings():
            files = [_entry("kind", settings.kind, MINI_WEIGHTS / "mini-keypoints/model.safetensors", "install again")]
        case _:
            assert_never(settings)
    problems = [f"{file['option']}={file['name']}: not there; {file['get']}" for file in files if file["missing"]]
    return {"extractor": settings.kind, "files": files, "problems": problems}


def _onnx(option: str, name: str) -> Entry:
    """A local file, or what rtmlib keeps of an address: the archive, or the model that was in it."""
    other = "or use pose=mediapipe or pose=file"
    if urlparse(name).scheme not in ("http", "https"):
        return _entry(option, name, Path(name).expanduser(), f"give the path of an .onnx file, {other}")
    from src.pose.extractors.dwpose import kept

    get = f"downloaded on first use where there is a network; or give a local file as pose.{option}=, {other}"
    return _entry(option, name, kept(name), get)


def _body_model(complexity: int) -> Entry:
    name = f"pose_landmark_{_BODY_MODELS[complexity]}.tflite"
    package = _package()
    if package is None:
        return _entry("kind", "mediapipe", None, "pip install '.[mediapipe]'")
    path = package / "modules/pose_landmark" / name
    return _entry(
        "model_complexity", str(complexity), path, "downloaded on first use; pose.model_complexity=1 is there"
    )


def _package() -> Path | None:
    found = importlib.util.find_spec("mediapipe")
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


def _entry(option: str, name: str, path: Path | None, get: str) -> Entry:
    there = path is not None and path.exists()
    entry = {"option": f"pose.{option}", "name": name, "found": str(path) if there else None, "missing": not there}
    return entry if there else entry | {"get": get}
