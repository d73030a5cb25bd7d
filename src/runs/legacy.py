"""Settings of version 0.1, whose runs kept their whole Hydra configuration."""

from collections.abc import Mapping
from typing import Any

from src.common.errors import UserError

# Of each group what has a place in today's settings; `_target_` and the like never have.
_TRAINER = (
    *("accelerator", "devices", "precision", "max_steps", "max_time", "gradient_clip_val", "accumulate_grad_batches"),
    *("deterministic", "log_every_n_steps"),
)
_KINDS = {
    "src.pose.dwpose.DWPoseExtractor": "dwpose",
    "src.pose.mediapipe.MediaPipeExtractor": "mediapipe",
    "src.pose.extractors.FileExtractor": "file",
    "src.models.keypoint_net.MiniExtractor": "mini",
}
_TOP = (
    *("subject", "prompt", "target_prompt", "seed", "data", "model", "sampling", "preview", "sample_after_train"),
    *("fine_tune_cache", "checkpoint_every_n_steps", "run_dir"),
)
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
            **{key: values[key] for key in _TOP if key in values},
            "method": method,
            "optimizer": optimizer,
            "pose": pose | {"kind": _KINDS[values["pose"]["_target_"]]},
            "trainer": {key: values["trainer"][key] for key in _TRAINER if key in values["trainer"]},
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{where} is no run of this version or of 0.1 ({type(error).__name__}: {error}): train it again with "
            "python -m src.train"
        ) from error
