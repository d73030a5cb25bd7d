"""The gallery with the toy model: every picture and video is made, of the right things, and made once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.app.entry import settings_of
from src.common.errors import UserError
from src.common.paths import PACKAGE_ROOT
from src.common.reading import read_json
from src.common.typed import changed
from src.data.rendered import SEEDS, people_subject
from src.media.video import read_video, write_frames
from src.showcase.items import GalleryContext, make_item
from src.showcase.settings import GallerySettings, GenerateItem, RepairItem

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_frames=4")
KEPT = ("wave_left", "more_parts", "look", "repair")


@pytest.fixture
def made(gallery, tmp_path):
    return lambda *overrides: gallery(*FAST, "cell=64", f"folder={tmp_path / 'gallery'}", *overrides)


def left_out(compose_config) -> list[str]:
    """Overrides that leave the pictures of `KEPT` alone."""
    return [f"~pictures.{name}" for name in compose_config("gallery").pictures if name not in KEPT]


def test_every_kind_of_item_is_made_once(made, compose_config, tmp_path, monkeypatch):
    paths = made(*left_out(compose_config))
    folder = tmp_path / "gallery"
    assert sorted(path.name for path in paths) == sorted(f"{name}.png" for name in KEPT)
    for path in paths:
        assert path.stat().st_size < 300_000 and Image.open(path).width > 8 * 64
        assert len(read_video(path.with_suffix(".mp4")).frames) >= 8
    # wave_left and more_parts share a variant.
    variants = [read_json(path) for path in folder.glob("variants/*/summary.json")]
    assert sorted(len(variant["method"]["latent_editing"]["parts"]) for variant in variants) == [3, 6]
    original = people_subject("people_001", resolution=64).frames[:32]
    repaired, damaged = (read_video(next(folder.glob("repairs/*")) / name).frames for name in ("run/frames", "damaged"))
    bad = np.arange(12, 18)
    good = np.setdiff1d(np.arange(32), bad)
    assert (repaired[good] == original[good]).all() and (damaged[bad] != original[bad]).any((1, 2, 3)).all()

    monkeypatch.setattr("src.showcase.gallery.make_run", None)
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert made(*left_out(compose_config)) == paths and [path.stat().st_mtime_ns for path in paths] == stamps


@pytest.mark.parametrize(("segment", "shown"), [((1, 2), 5), ((3, 7), 7)])
def test_a_segment_may_lie_at_either_end_of_the_repaired_clip(compose_config, tmp_path, monkeypatch, segment, shown):
    """A gallery of the repair alone, whose run and repair are put in its place."""
    monkeypatch.setattr(
        "src.showcase.items.repair",
        lambda s: write_frames(Path(s.run_dir) / "frames", read_video(s.video).frames),
    )
    frames = SimpleNamespace(frames=np.zeros((4, 64, 64, 3), np.uint8))
    run: Any = SimpleNamespace(training=lambda: frames, fine_tune_record=lambda: {"adapter_sha256": "0"})
    settings = settings_of(GallerySettings, compose_config("gallery", *FAST, f"folder={tmp_path}"))
    item = RepairItem(kind="repair", caption="", frames=8, segment=segment)
    rows, _ = make_item(GalleryContext(settings, run), item)
    assert [len(row.frames) for row in rows] == [shown] * 3


def test_every_picture_of_the_config_is_one_that_sampling_takes(compose_config):
    settings = settings_of(GallerySettings, compose_config("gallery"))
    for item in settings.pictures.values():
        for variant in item.variants.values() if isinstance(item, GenerateItem) else []:
            assert Path(variant.poses).suffix == ".yaml" or variant.poses in SEEDS
            assert changed(settings.method, variant.method, "method")


def test_bad_items_are_refused_before_anything_is_trained(made, tmp_path):
    with pytest.raises(UserError, match="pictures.look.kind=looks is unknown: choose one of 'generate', 'look', 'rep"):
        made("pictures.look.kind=looks")
    with pytest.raises(UserError, match="subject=clip.mp4 is unknown"):
        made("subject=clip.mp4")
    with pytest.raises(UserError, match="pictures.look.driver=nobody is unknown"):
        made("pictures.look.driver=nobody")
    assert not (tmp_path / "gallery").exists()


def test_other_settings_make_other_pictures(made, compose_config, tmp_path, monkeypatch):
    """And what the pictures show is kept for when the settings come back."""
    few = [f"~pictures.{name}" for name in compose_config("gallery").pictures if name not in ("wave_left", "look")]
    folder = tmp_path / "gallery"
    seen = {}

    def pictures(*changes: str) -> tuple[bytes, ...]:
        return tuple(path.read_bytes() for path in made(*few, *changes))

    for changes in ((), ("subject=people_002",), ("seed=1",), ("sampling.guidance_scale=3",), ("cell=48",)):
        seen[changes] = pictures(*changes)
    waves, looks = zip(*seen.values(), strict=True)
    assert len(set(waves)) == 5 and len(set(looks)) == 3, "guidance and seed change no training frame"
    assert len(list(folder.glob("runs/*"))) == 3 and len(list(folder.glob("variants/*"))) == 4

    variants = {path: path.stat().st_mtime_ns for path in folder.glob("variants/*/summary.json")}
    assert pictures() == seen[()]
    stamp = (folder / "look.png").stat().st_mtime_ns
    (folder / "wave_left.mp4").write_bytes(b"half")
    assert pictures() == seen[()] and len(read_video(folder / "wave_left.mp4").frames) >= 8
    assert (folder / "look.png").stat().st_mtime_ns == stamp
    assert {path: path.stat().st_mtime_ns for path in folder.glob("variants/*/summary.json")} == variants

    # A script of one's own in the place of the one that ships.
    script = Path(compose_config("gallery").pictures.wave_left.variants.generated.poses)
    (tmp_path / script).parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / script).write_bytes((PACKAGE_ROOT / script).read_bytes() + b"# changed\n")
    pictures()
    assert len(list(folder.glob("variants/*/summary.json"))) == len(variants) + 1
