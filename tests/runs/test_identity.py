"""Each setting of a run counts where it says: for the fine-tune, for the video alone, or for neither."""

import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Any

import numpy as np
import pytest

from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.common.typed import changed
from src.data.settings import DataSettings
from src.data.subject_split import TrainingClip
from src.models.settings import ModelSettings
from src.pose.extractors.settings import FileSettings
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.runs.identity import fine_tune_key, generation_key, idle_settings, same_run
from src.runs.keeping import video_key
from src.runs.run_folder import RunFolder
from src.runs.settings import LearningSettings, RunSettings
from src.sampling.jobs import GenerationJob
from src.sampling.settings import MethodSettings, SamplingSettings
from src.training.settings import OptimizerSettings, PreviewSettings

SETTINGS = RunSettings(
    subject="people_001",
    data=DataSettings(),
    model=ModelSettings(name="some", base="some/model"),
    method=MethodSettings(),
    sampling=SamplingSettings(),
    optimizer=OptimizerSettings(),
    trainer=TrainerSettings(),
    pose=FileSettings(kind="file", path="poses.npz"),
    preview=PreviewSettings(),
)
# What no type tells: names of a choice that is checked by hand, text of a certain form.
OTHERS = ("frame", "source", "tiny", "bfloat16", "00:01:00:00", "another")


def leaves(settings: Any, prefix: str = "", inherited: str = "fine_tune") -> Iterator[tuple[str, str, Any, Any]]:
    """Dotted key, where it counts, type and value of each field."""
    hints = typing.get_type_hints(type(settings))
    for field in fields(settings):
        counts, value = field.metadata.get("counts", inherited), getattr(settings, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.", counts)
        else:
            yield prefix + field.name, counts, hints[field.name], value


def candidates(hint: Any, value: Any) -> Iterator[Any]:
    """Other values of a type, of which the first that is in range will do."""
    if typing.get_origin(hint) is typing.Literal:
        yield from (choice for choice in typing.get_args(hint) if choice != value)
    elif typing.get_args(hint) and typing.get_origin(hint) not in (list, tuple):
        for part in typing.get_args(hint):
            yield from candidates(part, value)
    elif isinstance(value, bool) or hint is bool:
        yield not value
    elif hint in (int, float):
        yield from (value + 1, value - 1, value / 2) if isinstance(value, (int, float)) else (1, 2)
    elif hint is NoneType and value is not None:
        yield None
    elif value == [] and typing.get_origin(hint) is list:
        [item] = typing.get_args(hint)
        # LoRAs, and ControlNets, whose condition has no default.
        yield from ([{"path": OTHERS[0]} | more] for more in ({}, {"condition": "canny"}) if is_dataclass(item))
        yield [OTHERS[0]]
    elif value is None and typing.get_origin(hint) is list:
        yield []
    elif isinstance(value, int) and hint == list[int]:
        yield [value - 1]
    elif isinstance(value, (list, tuple)):
        yield [item / 2 for item in value] if isinstance(value, tuple) else value[:-1]
        yield [item // 2 for item in value if isinstance(item, int)]
    elif hint is str:
        yield from OTHERS


def with_another(key: str, hint: Any, value: Any) -> RunSettings:
    """The settings with another value of one field."""
    for candidate in candidates(hint, value):
        change = candidate
        for part in reversed(key.split(".")):
            change = {part: change}
        try:
            other = changed(SETTINGS, change)
        except UserError:
            continue
        if other != SETTINGS:
            return other
    if key.endswith("kind") or key in ("optimizer.name", "trainer.accumulate_grad_batches"):
        pytest.skip("there is one choice, or another has other settings")
    raise AssertionError(f"no other value of {key} ({hint}) is known to this test")


def clip_of(settings: RunSettings) -> TrainingClip:
    """What the settings say of the clip by content: whom it shows, and the prompt."""
    frames = np.full((2, 8, 8, 3), sum(settings.subject.encode()) % 256, np.uint8)
    seen = np.ones((2, NUM_KEYPOINTS))
    return TrainingClip(frames, PoseSequence(np.full((2, NUM_KEYPOINTS, 2), 0.5), seen, seen), str(settings.prompt), 10)


def keys(settings: RunSettings) -> tuple[str, str]:
    clip = clip_of(settings)
    target = {"prompt": settings.target_prompt or clip.prompt}
    return fine_tune_key(settings, clip), generation_key(settings, clip, target)


@pytest.mark.parametrize(("key", "counts", "hint", "value"), list(leaves(SETTINGS)), ids=lambda value: str(value)[:40])
def test_each_setting_counts_where_it_says(key, counts, hint, value, tmp_path):
    other = with_another(key, hint, value)
    before, after = keys(SETTINGS), keys(other)
    assert (before[0] != after[0]) == (counts == "fine_tune")
    assert (before[1] != after[1]) == (counts in ("fine_tune", "sampling"))
    difference = same_run(SETTINGS, other, "sampling")
    assert (difference is not None) == (counts != "nothing") and (difference is None or difference[0] == key)
    run = RunFolder(tmp_path)
    run.save_settings(SETTINGS)
    if counts == "fine_tune":
        with pytest.raises(UserError, match=rf"holds a run with another {key} \("):
            run.check_same_fine_tune(other)
    else:
        run.check_same_fine_tune(other)


def test_a_video_of_another_seed_method_or_device_is_another():
    """The job's own seed: that of the fine-tune may be another."""
    clip = clip_of(SETTINGS)
    how = {"method": MethodSettings(init="noise"), "sampling": SamplingSettings(), "seed": 0, "fps": 10.0}
    job = GenerationJob(clip=clip, target_poses=clip.poses, target_prompt="a person", **how)

    def key(job: GenerationJob, **trainer: Any) -> str:
        return video_key(SETTINGS, job, TrainerSettings(**trainer), {})

    assert key(job) == key(replace(job, fps=20.0))
    others = [
        {"seed": 1},
        {"target_prompt": "somebody"},
        {"method": MethodSettings()},
        {"target_poses": clip.poses[:1]},
    ]
    made = [key(replace(job, **other)) for other in others] + [key(job, accelerator="cpu")]
    assert len({key(job), *made}) == 1 + len(made)


def test_the_idle_settings_are_those_that_count_for_nothing():
    shared = {field.name for field in fields(LearningSettings)}
    idle = {key for key, counts, *_ in leaves(SETTINGS) if counts == "nothing" and key.partition(".")[0] in shared}
    assert set(idle_settings()) == idle and "model.offload" in idle


def test_what_decides_is_not_taken_for_a_detail():
    """Of what the paper and the resume rest on, said here once more."""
    where = {key: counts for key, counts, *_ in leaves(SETTINGS)}
    assert {
        counts
        for key, counts in where.items()
        if key.startswith(("sampling.", "method.")) and key not in ("method.kind", "sampling.frame_chunk")
    } == {"sampling"}
    aside = {"model.name", "model.gradient_checkpointing", "model.offload", "model.compile_training"}
    assert {key for key, counts in where.items() if key.startswith("model.") and counts == "nothing"} == aside
    # The fine-tune runs as it is.
    assert where["model.compile"] == "sampling"
    aside.add("model.compile")
    trained = {key: counts for key, counts in where.items() if key.startswith(("optimizer.", "model."))}
    assert {counts for key, counts in trained.items() if key not in aside} == {"fine_tune"}
    for key in ("seed", "data.num_frames", "data.resolution", "trainer.max_steps", "trainer.gradient_clip_val"):
        assert where[key] == "fine_tune", key
    for key in (
        "run_dir",
        "fine_tune_cache",
        "trainer.accelerator",
        "trainer.devices",
        "data.root",
        "preview.num_poses",
    ):
        assert where[key] == "nothing", key


def test_settings_come_back_from_a_run_folder_as_they_were(tmp_path):
    run = RunFolder(tmp_path)
    run.save_settings(SETTINGS)
    assert run.settings() == SETTINGS
