"""Condition images of ControlNets beside the pose one, drawn from frames of a video.

Dimensions: H×W pixels, RGB uint8.
"""

import functools
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import cv2
import numpy as np
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from src.common.arrays import Frames, MadeFrames
from src.common.digests import digest, frames_sha256, sha256
from src.common.errors import UserError
from src.models.folders import clear_errors, download_command
from src.models.settings import ControlNetSettings
from src.models.weights_file import read_tensors

# OpenCV's thresholds, those of ControlNet's own demonstration.
CANNY = 100, 200
# The files that controlnet-aux reads its detectors from.
DETECTORS = {
    "softedge": "ControlNetHED.pth",
    "pidi": "table5_pidinet.pth",
    "depth": "dpt_hybrid-midas-501f0c75.pt",
}

Draw = Callable[[np.ndarray], np.ndarray]


def drawer(settings: ControlNetSettings) -> Draw:
    """What makes the condition image (H, W, 3) of a frame (H, W, 3), on the CPU.

    Raises:
        UserError: the weights of its detector are not there or cannot be read.
    """
    assert settings.condition != "images", "they are given"
    if settings.condition == "canny":
        return draw_canny
    option, file = "model.controlnets: detector", DETECTORS[settings.condition]
    get = f"Download it where there is a network ({download_command(settings.detector, file)})"
    mend = f"{get} and set detector to its folder, or give condition=images"
    with warnings.catch_warnings(), clear_errors(option, settings.detector, file, mend=mend):
        # Importing it warns of detectors that are not used here.
        warnings.simplefilter("ignore")
        if Path(settings.detector).is_dir() and detector_file(settings) is None:
            raise UserError(
                f"{option}={settings.detector} has no {file}, which condition="
                f"{settings.condition} needs: download it from lllyasviel/Annotators, or give condition=images"
            )
        try:
            detector = _loaded(settings)
        except UnpicklingError as error:
            raise UserError(f"{option}={settings.detector} holds a damaged file: download it again") from error
    return functools.partial(_detected, detector)


def draw_canny(frame: np.ndarray) -> np.ndarray:
    """Canny's edges, white on black.

    >>> square = np.zeros((8, 8, 3), np.uint8)
    >>> square[2:6, 2:6] = 255
    >>> bool(draw_canny(square).any()), bool(draw_canny(np.zeros_like(square)).any())
    (True, False)
    """
    return np.repeat(cv2.Canny(np.ascontiguousarray(frame), *CANNY)[..., None], 3, axis=2)


class DrawnImages(MadeFrames):
    """Condition images of a clip, drawn whenever they are looked at: of thousands there is one in memory.

    Args:
        frames: (F, H, W, 3) that they are drawn from.
        size: (H, W) in pixels.
        kept: numbers of the few that are looked at again, and stay in memory once they are drawn.

    Raises:
        UserError: as of `drawer`.
    """

    def __init__(
        self, settings: ControlNetSettings, frames: Frames, size: tuple[int, int], kept: Collection[int] = ()
    ) -> None:
        self._settings, self._frames, self._kept = settings, frames, dict.fromkeys(kept)
        self._draw = drawer(settings)
        super().__init__(self._drawn, len(frames), size)

    def sha256(self) -> str:
        """Of the frames that the images come from, the kind and the detector: what is known without drawing any."""
        return digest([frames_sha256(self._frames), *_detector_identity(self._settings)])

    def _drawn(self, index: int) -> np.ndarray:
        if index not in self._kept:
            return self._draw(self._frames[index])
        if (image := self._kept[index]) is None:
            image = self._kept[index] = self._draw(self._frames[index])
        return image


def _detector_identity(settings: ControlNetSettings) -> list[Any]:
    if settings.condition == "canny":
        return [settings.condition, *CANNY]
    file = detector_file(settings)
    return [settings.condition, settings.detector if file is None else sha256(file)]


def detector_file(settings: ControlNetSettings) -> Path | None:
    """The file of its detector where it is on this machine; the network is not asked."""
    name = DETECTORS[settings.condition]
    if Path(settings.detector).is_dir():
        path = Path(settings.detector) / name
        return path if path.is_file() else None
    try:
        found = try_to_load_from_cache(settings.detector, name)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _loaded(settings: ControlNetSettings) -> Any:
    # Two of them call torch.load themselves, which reads nothing but weights.
    if settings.condition == "softedge":
        from controlnet_aux.hed import HEDdetector

        return HEDdetector.from_pretrained(settings.detector)
    if settings.condition == "depth":
        from controlnet_aux.midas import MidasDetector

        return MidasDetector.from_pretrained(settings.detector)
    from controlnet_aux.pidi import PidiNetDetector
    from controlnet_aux.pidi.model import pidinet

    path = detector_file(settings) or hf_hub_download(settings.detector, DETECTORS["pidi"])
    network = pidinet()
    # Its own loader puts the tensors where they were trained, which fails on a machine without a card.
    tensors = read_tensors(str(path), option="model.controlnets: detector")
    network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    return PidiNetDetector(network.eval())


def _detected(detector: Callable[..., np.ndarray], frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    side = min(height, width)
    image = detector(np.asarray(frame), detect_resolution=side, image_resolution=side, output_type="np")
    # It works on multiples of 64.
    return image if image.shape[:2] == (height, width) else cv2.resize(image, (width, height))
