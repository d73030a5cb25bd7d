"""The items of the gallery: what is made for each kind, and the rows of pictures that come of it.

Dimensions: F frames of one item, H×W pixels, RGB uint8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from src.common.arrays import height_width
from src.common.digests import digest, sha256
from src.common.typed import changed, identity, plain
from src.data.pose_sources import PoseSourceSettings, shipped, target_poses
from src.data.rendered import people_subject
from src.inpainting.repair import repair
from src.inpainting.settings import RepairSettings
from src.media.contact_sheet import Row
from src.media.video import read_video, write_frames
from src.pose.draw import draw_poses
from src.pose.extractors.settings import FileSettings
from src.pose.formats import PoseFile, load_poses, save_poses
from src.pose.script import SUFFIXES
from src.runs.generated import Beside
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.runs.samples import save_sample
from src.showcase.look import look
from src.showcase.settings import GallerySettings, GenerateItem, Item, LookItem, LookSettings, RepairItem, Variant

# Of the repaired clip: sides of the blocks that the damage leaves, good frames shown on either side.
_BLOCK, _AROUND = 16, 2


@dataclass
class GalleryContext:
    """What the items are made with.

    Attributes:
        settings: of the gallery.
        run: the subject's finished fine-tune.
    """

    settings: GallerySettings
    run: RunFolder
    _person: Person | None = field(default=None, init=False)
    _adapter: str | None = field(default=None, init=False)

    @property
    def folder(self) -> Path:
        """Of the gallery."""
        return Path(self.settings.folder)

    @property
    def person(self) -> Person:
        """The subject, loaded when it is first generated."""
        if self._person is None:
            self._person = Person.load(self.run)
        return self._person

    def key(self, made: Any) -> str | None:
        """SHA-256 of what a part of the gallery is made from; None: nobody was learnt yet.

        Args:
            made: what is asked for, as plain values, beside the gallery's settings and the subject's fine-tune. Pose
                scripts count by their content.
        """
        if self._adapter is None and (record := self.run.fine_tune_record()) is not None:
            self._adapter = record.get("adapter_sha256")
        return (
            None
            if self._adapter is None
            else digest([identity(self.settings, "sampling"), self._adapter, _with_scripts(made)])
        )

    def place(self, kind: str, made: Any) -> Path:
        """The folder of what is made from that, once the subject was learnt."""
        key = self.key(made)
        assert key is not None, "the run is made first"
        return self.folder / kind / key[:10]


def _with_scripts(made: Any) -> Any:
    if isinstance(made, Mapping):
        return {key: _with_scripts(value) for key, value in made.items()}
    if isinstance(made, list):
        return [_with_scripts(value) for value in made]
    if isinstance(made, str) and Path(made).suffix.lower() in SUFFIXES and (script := shipped(Path(made))).is_file():
        return [made, sha256(script)]
    return made


def make_item(context: GalleryContext, item: Item) -> tuple[list[Row], float]:
    """Rows of pictures of an item, and their frames a second."""
    if isinstance(item, GenerateItem):
        rows, fps = _generated(context, item)
    elif isinstance(item, LookItem):
        rows, fps = _look(context, item)
    else:
        return _repaired(context, item)
    if item.driver is None:
        return rows, fps
    # The driver's row, as large as the others.
    frames = rows[0].frames
    driver = people_subject(item.driver, resolution=min(height_width(frames))).frames[: len(frames)]
    return [Row("driver", driver), *rows], fps


def _generated(context: GalleryContext, item: GenerateItem) -> tuple[list[Row], float]:
    """A row for each variant, and a row of poses where they change."""
    rows, fps, shown = [], 10.0, None
    for label, variant in item.variants.items():
        folder = _variant(context, variant)
        written = PoseFile(folder / "poses.npz")
        (poses, _), fps = written.people(), written.fps() or fps
        frames = read_video(folder / "frames").frames
        if shown is None or not np.array_equal(shown.xy, poses.xy):
            rows.append(Row("target pose", draw_poses(poses, height_width(frames))))
            shown = poses
        rows.append(Row(label, frames))
    return rows, fps


def _variant(context: GalleryContext, variant: Variant) -> Path:
    """Folder of a variant, made unless it is there."""
    output = RunFolder(context.place("variants", plain(variant)))
    summary = output.summary()
    if summary is None or not output.is_whole(summary):
        person = context.person
        source = PoseSourceSettings(poses=variant.poses, retarget=variant.retarget, pose=FileSettings(kind="file"))
        clip = person.clip
        target = target_poses(
            source, size=height_width(clip.frames), fps=clip.fps, training=clip.poses, clip=clip.source
        )
        method = changed(person.settings.method, variant.method, "method")
        sampling = changed(person.settings.sampling, variant.sampling, "sampling")
        job = person.job(target.poses, fps=target.fps, prompt=variant.prompt, method=method, sampling=sampling)
        with output.only_writer():
            generated = person.generate(job, output=output)
            beside = Beside(frames=target.beside)
            save_sample(output, generated, job, beside, run=str(context.run.path), poses=variant.poses)
    return output.path


def _look(context: GalleryContext, item: LookItem) -> tuple[list[Row], float]:
    """Target poses and the training frames nearest to them."""
    folder, clip = context.place("looks", item.poses), context.run.training()
    size = clip.frames.shape[1]
    settings = LookSettings(
        poses=item.poses,
        run=str(context.run.path),
        data=replace(context.settings.data, resolution=size),
        pose=FileSettings(kind="file"),
    )
    summary = look(settings, folder)
    nearest = clip.frames[summary["nearest_training_frame"]]
    poses = draw_poses(load_poses(folder / "poses.npz"), size)
    return [Row("target pose", poses), Row("nearest training frame", nearest)], summary["fps"]


def _repaired(context: GalleryContext, item: RepairItem) -> tuple[list[Row], float]:
    """The damaged, the repaired and the undamaged frames around the segment."""
    first, last = item.segment
    folder = context.place("repairs", [item.frames, item.segment])
    size = context.run.training().frames.shape[1]
    original = people_subject(context.settings.subject, resolution=size)
    good, fps = original.frames[: item.frames], float(original.fps)
    damaged = good.copy()
    blocks = good[first : last + 1, _BLOCK // 2 :: _BLOCK, _BLOCK // 2 :: _BLOCK]
    damaged[first : last + 1] = blocks.repeat(_BLOCK, 1).repeat(_BLOCK, 2)
    write_frames(folder / "damaged", damaged)
    save_poses(folder / "poses.npz", original.poses[: item.frames], fps=fps, size=original.size)
    shared = context.settings.shared()
    shared["data"] = replace(context.settings.data, root=str(folder / "data"))
    settings = RepairSettings(
        **shared,
        video=str(folder / "damaged"),
        segments=[[first, last]],
        prompt=original.prompt,
        pose=FileSettings(kind="file", path=str(folder / "poses.npz")),
        run_dir=str(folder / "run"),
    )
    repair(settings)
    repaired = read_video(folder / "run" / "frames").frames
    part = slice(max(first - _AROUND, 0), last + 1 + _AROUND)
    rows = (("damaged", damaged), ("repaired", repaired), ("undamaged", good))
    return [Row(label, frames[part]) for label, frames in rows], fps
