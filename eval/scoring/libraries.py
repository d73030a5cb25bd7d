"""Versions of the libraries whose code enters the numbers."""

import functools
import importlib.metadata

import cv2

_NAMES = ("torch", "torchvision", "torchmetrics", "scikit-image", "lpips", "clean-fid", "cd-fvd", "transformers")


def library_versions() -> dict[str, str]:
    """By name; looked up once, since the key of every kept feature asks."""
    return dict(_found())


@functools.cache
def _found() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in (*_NAMES, "pillow", "av", "numpy", "scipy")}
    return found | {"opencv": cv2.__version__}  # installed under any of four names
