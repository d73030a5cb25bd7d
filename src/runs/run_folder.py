"""What a run leaves behind, written whole or not at all, and how a run is read again: as data, never as code.

Dimensions: N training frames, M target poses, H×W pixels, RGB uint8.

    config.yaml          the settings, plain values
    training/            frames, poses, prompt and condition images that the model was fine-tuned on
    held_out/            frames, poses and condition images that it was not shown, to be scored against
    adapter.safetensors  what was trained; fine_tune.json its cost and checksum
    checkpoints/         of an unfinished fine-tune
    unfinished/          windows of a long video that is being generated (`src.sampling.kept_frames`)
    preview/, csv/, …    pictures and metrics of its course; segments/ of a repair, which segments.json lists
    frames/, *.mp4, …    what was generated (`src.runs.generated`)
    summary.json         the whole run, with the checksums of what was generated; written last
"""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from src.common.atomic import LOCK, atomic_path
from src.common.digests import sha256
from src.common.errors import DamagedFile, UserError
from src.common.files import read_record, write_json
from src.common.paths import choices, weights_here
from src.common.reading import read_yaml
from src.common.typed import plain, typed
from src.common.writers import check_place, only_writer, refuse_links
from src.data.subject_split import SubjectSplit, TrainingClip
from src.runs.clips import read_training, write_held_out, write_training
from src.runs.generated import GENERATED, Beside, tree_sha256, write_drift, write_generated
from src.runs.identity import same_run
from src.runs.legacy import upgraded
from src.runs.provenance import environment, git_revision
from src.runs.records import check_key, is_adapter_of, is_summary
from src.runs.settings import RunSettings
from src.sampling.jobs import GeneratedClip

log = logging.getLogger(__name__)
FORMAT = 2
CONFIG, ADAPTER, FINE_TUNE_RECORD, SUMMARY = "config.yaml", "adapter.safetensors", "fine_tune.json", "summary.json"
TRAINING, HELD_OUT, CHECKPOINTS, UNFINISHED = "training", "held_out", "checkpoints", "unfinished"
PREVIEW, SEGMENTS, SEGMENTS_RECORD = "preview", "segments", "segments.json"
# What `summary.json` holds the checksums of.
DESCRIBED = (CONFIG, TRAINING, HELD_OUT, *GENERATED)
# What a folder that is not ours must not hold, since it would be replaced; nor is a link in it followed.
WRITTEN = (ADAPTER, FINE_TUNE_RECORD, SUMMARY, CHECKPOINTS, UNFINISHED, *DESCRIBED)


class RunFolder:
    """A folder of `src.train`'s, or one for results alone.

    Args:
        path: it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not str(path).strip():
            raise UserError("an empty folder name would write into the working directory: name the folder")

    @contextlib.contextmanager
    def only_writer(self, *, wait: bool = False) -> Iterator[None]:
        """Keep other processes out while this one writes there; see `src.common.writers.only_writer`.

        Raises:
            UserError: another process is at work there, the folder holds what is not ours under our names, or a link
                in place of what is written.
        """
        with only_writer(self.path, writes=self._replaced(), wait=wait):
            yield

    def check_place(self) -> None:
        """Raise what `only_writer` would, before there is anything to write; nothing is made or left."""
        check_place(self.path, writes=self._replaced())

    def _replaced(self) -> Sequence[str]:
        """What must not be somebody else's, since it would be replaced; refuses links in place of what is written."""
        # A logger's folder is called like its config.
        refuse_links(self.path, (LOCK, *WRITTEN, PREVIEW, SEGMENTS, SEGMENTS_RECORD, *choices("logger")))
        return () if (self.path / CONFIG).is_file() or self.summary() is not None else WRITTEN

    # Settings.

    def save_settings(self, settings: RunSettings) -> None:
        """Write the settings; `repeat=<this folder>` takes them."""
        self.save_values({**plain(settings), "run_dir": None})

    def save_values(self, values: Mapping[str, Any]) -> None:
        """Write plain settings of whatever the folder holds."""
        with atomic_path(self.path / CONFIG) as temporary:
            text = yaml.safe_dump({"format": FORMAT, **values}, sort_keys=False)
            temporary.write_text(text, encoding="utf-8")

    def settings(self) -> RunSettings:
        """The run's settings.

        Raises:
            UserError: this is no run folder, or its settings are not this version's nor those of version 0.1.
        """
        if not (self.path / CONFIG).is_file():
            raise UserError(f"{self.path} is no run folder (no {CONFIG} in it): give one that `src.train` wrote")
        # Nor is read what lies outside.
        refuse_links(self.path, WRITTEN)
        values = read_yaml(self.path / CONFIG)
        where = str(self.path / CONFIG)
        if not isinstance(values, Mapping):
            raise DamagedFile(f"{where} holds no settings: expected what `python -m src.train` wrote")
        values = dict(values)
        if values.pop("format", None) != FORMAT:
            values = upgraded(values, where)
        try:
            settings = typed(RunSettings, values)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return replace(settings, model=replace(settings.model, base=weights_here(settings.model.base)))

    def check_same_fine_tune(self, settings: RunSettings) -> None:
        """Refuse to go on with a run whose fine-tune has other settings.

        Raises:
            UserError: names the first setting that differs.
        """
        if not (self.path / CONFIG).is_file():
            return
        if difference := same_run(self.settings(), settings, "fine_tune"):
            key, old, new = difference
            raise UserError(
                f"run_dir={self.path} holds a run with another {key} ({old}, not {new}): choose another run_dir, or "
                "give the same settings to go on with it"
            )

    # The two parts of the clip.

    def save_training(self, clip: TrainingClip) -> None:
        """Keep the training frames, so that the run can generate again on its own."""
        write_training(self.path / TRAINING, clip)

    def training(self) -> TrainingClip:
        """Read what `save_training` wrote.

        Raises:
            UserError: it is not there, or not as it was written.
        """
        folder = self.path / TRAINING
        if not folder.is_dir():
            raise UserError(
                f"run={self.path} has no {TRAINING}/: give its src.train command again with run_dir={self.path}"
            )
        return read_training(folder)

    def save_held_out(self, split: SubjectSplit) -> None:
        """Keep the true frames of the held-out poses, so that the run can be scored on its own."""
        write_held_out(self.path / HELD_OUT, split)

    # The fine-tune.

    def save_fine_tune(self, save: Callable[[Path], None], record: Mapping[str, Any], *, key: str) -> dict[str, Any]:
        """Write what was trained, then the record that says it is whole, and return that.

        Args:
            save: writes the tensors, whole or not at all.
            key: what the fine-tune depends on.
        """
        save(self.path / ADAPTER)
        whole = {**record, "key": key, "adapter_sha256": sha256(self.path / ADAPTER)}
        write_json(self.path / FINE_TUNE_RECORD, whole)
        return whole

    def fine_tune_record(self, key: str | None = None) -> dict[str, Any] | None:
        """The record of a fine-tune that is finished and whole; None where there is none, with a warning if damaged.

        Args:
            key: what it must depend on, as of `check_fine_tune`; None: anything.
        """
        if (record := self._fine_tune()) is None:
            return None
        if not is_adapter_of(record, self.path / ADAPTER):
            log.warning("%s is not the adapter that was written with its record: it is made again", self.path / ADAPTER)
            return None
        if key is not None:
            check_key(record, key, self.path)
        return record

    def check_fine_tune(self, key: str) -> None:
        """Raise a UserError where what was learnt here, and is whole, is of another key."""
        record = self._fine_tune()
        # The adapter is read for its checksum only where that decides.
        if record is not None and record.get("key") != key and is_adapter_of(record, self.path / ADAPTER):
            check_key(record, key, self.path)

    def _fine_tune(self) -> dict[str, Any] | None:
        return read_record(self.path / FINE_TUNE_RECORD) if (self.path / ADAPTER).is_file() else None

    def adapter(self) -> Path:
        """The file of what was trained.

        Raises:
            UserError: the fine-tune is not finished.
        """
        if not (self.path / ADAPTER).is_file():
            raise UserError(
                f"run={self.path} has not finished its fine-tune: give its src.train command again with "
                f"run_dir={self.path}"
            )
        return self.path / ADAPTER

    # What was generated.

    def save_generated(self, clip: GeneratedClip, beside: Beside) -> None:
        """Write what was generated; see `write_generated`."""
        write_generated(self.path, clip, beside)

    def save_clip(self, clip: GeneratedClip, beside: Beside, said: Mapping[str, Any]) -> dict[str, Any]:
        """Write what any method generated and a `summary.json` with its cost, and return that.

        Args:
            said: what it was made from, as plain values.
        """
        self.save_generated(clip, beside)
        summary = {**said, "fps": clip.fps, "sound_of": None if beside.sound is None else beside.sound.path.name}
        summary |= {"drift": write_drift(self.path, clip), "sampling": clip.cost}
        return self.save_summary({**summary, "versions": environment(), "git": git_revision()})

    def save_summary(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Write `summary.json`, with the checksums of the files that it describes, and return its content."""
        found = {name: tree_sha256(self.path / name) for name in DESCRIBED}
        whole = {**summary, "files": {name: digest for name, digest in found.items() if digest is not None}}
        write_json(self.path / SUMMARY, whole)
        self.clear_unfinished()
        return whole

    def forget_summary(self) -> None:
        """Remove `summary.json`: what is written from here on is other than it says, until it is written anew."""
        (self.path / SUMMARY).unlink(missing_ok=True)

    def clear_unfinished(self) -> None:
        """Remove the windows of a video that is written."""
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)

    def is_whole(self, summary: Mapping[str, Any]) -> bool:
        """Whether the files that a summary describes are there and as they were written; says so where not."""
        if changed := self.changed(summary):
            log.warning("%s in %s missing or changed since: made again", ", ".join(changed), self.path)
        return not changed

    def changed(self, summary: Mapping[str, Any], names: Sequence[str] = DESCRIBED) -> list[str]:
        """Those of the files that a summary describes which are not there, or not as they were written."""
        # Version 0.1 wrote no checksums.
        files = summary.get("files") or {}
        return [name for name in names if name in files and files[name] != tree_sha256(self.path / name)]

    def summary(self) -> dict[str, Any] | None:
        """`summary.json`; None where there is none, or a damaged one, with a warning."""
        summary = read_record(self.path / SUMMARY)
        if summary is None or is_summary(summary):
            return summary
        log.warning("%s is not as it was written: passed over", self.path / SUMMARY)
        return None

    def finished(self, settings: RunSettings, inputs: Mapping[str, str]) -> dict[str, Any] | None:
        """The summary, if the run here is the one that the settings describe, from the same inputs, and is whole."""
        summary = self.summary()
        known = None if summary is None else summary.get("inputs")
        if summary is None or not isinstance(known, dict) or not (self.path / CONFIG).is_file():
            return None
        # Summaries of before do not say of which weights they are, and have the source prompt in another place.
        before = {"weights": inputs.get("weights"), "prompt": summary.get("prompt", inputs.get("prompt"))}
        if before | known != dict(inputs):
            return None
        complete = "sampling" in summary or not settings.sample_after_train
        if not complete or same_run(self.settings(), settings, "sampling") or self.fine_tune_record() is None:
            return None
        return summary if self.is_whole(summary) else None
