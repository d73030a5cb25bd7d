"""The gallery with the toy model: every picture and video is made, of the right things, and made once."""

import numpy as np
import pytest
from PIL import Image

from src.common.errors import UserError
from src.common.files import read_json
from src.data.rendered import people_subject
from src.gallery import gallery
from src.media.video import read_video

FAST = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "sampling.num_steps=1", "data.num_frames=4")
KEPT = ("wave_left", "more_parts", "look", "repair")


@pytest.fixture
def config(compose_config, tmp_path):
    def make(*overrides):
        cfg = compose_config("gallery", *FAST, "cell=64", *overrides)
        cfg.folder = str(tmp_path / "gallery")
        return cfg

    return make


def test_every_kind_of_item_is_made_once(config, tmp_path, monkeypatch):
    cfg = config()
    cfg.pictures = {name: cfg.pictures[name] for name in KEPT}
    paths = gallery(cfg)
    folder = tmp_path / "gallery"
    assert [path.name for path in paths] == [f"{name}.png" for name in KEPT]
    for path in paths:
        assert path.stat().st_size < 300_000 and Image.open(path).width > 8 * 64
        assert len(read_video(path.with_suffix(".mp4")).frames) >= 8
    # wave_left and more_parts share a film.
    films = [read_json(path) for path in folder.glob("films/*/summary.json")]
    assert sorted(len(film["method"]["latent_editing"]["parts"]) for film in films) == [3, 6]
    original = people_subject("people_001", resolution=64).frames[:32]
    repaired, damaged = (read_video(folder / "repair" / name).frames for name in ("run/frames", "damaged"))
    bad = np.arange(12, 18)
    good = np.setdiff1d(np.arange(32), bad)
    assert (repaired[good] == original[good]).all() and (damaged[bad] != original[bad]).any((1, 2, 3)).all()

    monkeypatch.setattr("src.gallery.train", None)
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert gallery(cfg) == paths and [path.stat().st_mtime_ns for path in paths] == stamps


def test_every_picture_of_the_config_composes(config, compose_config):
    for item in config().pictures.values():
        for overrides in item.get("films", {}).values():
            compose_config("sample", "run=x", *overrides)


def test_bad_items_are_refused_before_anything_is_trained(config, tmp_path):
    with pytest.raises(UserError, match="pictures.look.kind=looks is unknown: choose one of films, look, mending"):
        gallery(config("pictures.look.kind=looks"))
    with pytest.raises(UserError, match="subject=clip.mp4 is unknown"):
        gallery(config("subject=clip.mp4"))
    with pytest.raises(UserError, match="pictures.look.driver=nobody is unknown"):
        gallery(config("pictures.look.driver=nobody"))
    assert not (tmp_path / "gallery").exists()
