"""When two runs are the same: the one place that decides, from what each setting says of where it counts."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from src.common.digests import digest
from src.common.nested import first_difference
from src.common.typed import identity
from src.data.subject_split import TrainingClip
from src.models.settings import weights_identity
from src.runs.settings import LearningSettings


def fine_tune_key(settings: LearningSettings, clip: TrainingClip) -> str:
    """SHA-256 of everything that an adapter depends on: frames, poses, prompt, weights and settings."""
    return digest([clip.checksums(), clip.prompt, weights_identity(settings.model), _settings(settings, "fine_tune")])


def generation_key(settings: LearningSettings, clip: TrainingClip, target: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a video depends on.

    Args:
        target: what else decides: the target poses' checksum, the target prompt.
    """
    return digest([fine_tune_key(settings, clip), dict(target), _settings(settings, "sampling")])


def same_run(one: LearningSettings, other: LearningSettings, scope: str) -> tuple[str, Any, Any] | None:
    """Dotted key and both values of the first setting in which two runs differ; None where they are the same.

    Args:
        scope: `fine_tune`, or `sampling` for the video as well.
    """
    return first_difference(identity(one, scope), identity(other, scope))


def idle_settings(group: type = LearningSettings, inherited: str = "fine_tune") -> Iterator[str]:
    """Dotted keys of the settings in which two runs may differ and be the same.

    Args:
        group: the dataclass that they are in.
        inherited: where counts what does not say it.
    """
    hints = get_type_hints(group)
    for field in fields(group):
        counts = field.metadata.get("counts", inherited)
        kind = hints[field.name]
        if isinstance(kind, type) and is_dataclass(kind):
            yield from (f"{field.name}.{key}" for key in idle_settings(kind, counts))
        elif counts == "nothing":
            yield field.name


def _settings(settings: LearningSettings, scope: str) -> dict[str, Any]:
    """Without who it is and what is said of them, which count by content: frames, poses and prompts are in the key."""
    shared = {field.name for field in fields(LearningSettings)}
    return {key: value for key, value in identity(settings, scope).items() if key in shared}
