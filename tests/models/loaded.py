"""Image models of tests, by what is not as it ships."""

from typing import Any

from src.models.image_model import ImageModel
from src.models.loading import load_image_model
from src.models.settings import ModelSettings


def loaded_model(base: str, controlnet: str | None = None, **settings: Any) -> ImageModel:
    """Of `base`, with settings of the group `model`."""
    return load_image_model(ModelSettings(name="own", base=base, controlnet=controlnet, **settings))
