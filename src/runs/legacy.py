"""Settings of version 0.1, whose runs kept their whole Hydra configuration."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.runs.settings import RunSettings

_KINDS = {
    "src.pose.dwpose.DWPoseExtractor": "dwpose",
    "src.pose.mediapipe.MediaPipeExtractor": "mediapipe",
    "src.pose.extractors.FileExtractor": "file",
    "src.models.keypoint_net.MiniExtractor": "mini",
}
_REFERENCES = {"single": "one", "nearest_per_segment": "per_segment"}


def upgraded(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A `config.yaml` of version 0.1 as today's plain settings.

    Raises:
        UserError: it is none; says so.
    """
    try:
        method = dict(values["method"])
        if "reference" in method:
            method["references"] = _REFERENCES[method.pop("reference")]
        optimizer = {key: values["optimizer"][key] for key in ("lr", "weight_decay")}
        pose = {key: value for key, value in values["pose"].items() if key != "_target_"}
        return {
            **_of_today(RunSettings, values),
            "method": method,
            "optimizer": optimizer,
            "pose": pose | {"kind": _KINDS[values["pose"]["_target_"]]},
            "trainer": _of_today(TrainerSettings, values["trainer"]),
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{where} is no run of this version or of 0.1 ({type(error).__name__}: {error}): train it again with "
            "python -m src.train"
        ) from error


def _of_today(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What has a place in today's settings; `_target_` and the like never have."""
    return {field.name: values[field.name] for field in fields(cls) if field.name in values}
