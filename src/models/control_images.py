"""Condition images of ControlNets beside the pose one, drawn from frames of a video.

Dimensions: H×W pixels, RGB uint8.
"""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import cv2
import numpy as np
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from src.common.errors import UserError
from src.models.folders import clear_errors
from src.models.settings import ControlNetSettings

# OpenCV's thresholds, those of ControlNet's own demonstration.
CANNY = 100, 200
# The files that controlnet-aux reads its detectors from.
DETECTORS = {"softedge": "ControlNetHED.pth", "depth": "dpt_hybrid-midas-501f0c75.pt"}

Draw = Callable[[np.ndarray], np.ndarray]


def drawer(settings: ControlNetSettings) -> Draw:
    """What makes the condition image (H, W, 3) of a frame (H, W, 3), on the CPU.

    Raises:
        UserError: the weights of its detector are not there or cannot be read.
    """
    assert settings.condition != "images", "they are given"
    if settings.condition == "canny":
        return draw_canny
    option = "model.controlnets: detector"
    with warnings.catch_warnings(), clear_errors(option, settings.detector, DETECTORS[settings.condition]):
        # Importing it warns of detectors that are not used here.
        warnings.simplefilter("ignore")
        if settings.condition == "softedge":
            from controlnet_aux.hed import HEDdetector as Detector
        else:
            from controlnet_aux.midas import MidasDetector as Detector
        if Path(settings.detector).is_dir() and detector_file(settings) is None:
            raise UserError(
                f"{option}={settings.detector} has no {DETECTORS[settings.condition]}, which condition="
                f"{settings.condition} needs: download it from lllyasviel/Annotators, or give condition=images"
            )
        try:
            # It calls torch.load, which reads nothing but weights.
            detector: Any = Detector.from_pretrained(settings.detector)
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


def _detected(detector: Callable[..., np.ndarray], frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    side = min(height, width)
    image = detector(np.asarray(frame), detect_resolution=side, image_resolution=side, output_type="np")
    # It works on multiples of 64.
    return image if image.shape[:2] == (height, width) else cv2.resize(image, (width, height))
