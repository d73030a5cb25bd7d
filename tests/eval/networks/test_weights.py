"""Networks from a folder, a cache or nowhere."""

from pathlib import Path

import pytest
import torch

import eval.networks.weights
from eval.networks.weights import FILES, HUB, WeightsMissing, WeightStore, mini_folder
from src.common.digests import sha256
from src.common.errors import UserError


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("name", FILES)
def test_absence_names_file_source_and_option_in_one_line(name: str) -> None:
    with pytest.raises(WeightsMissing) as caught:
        WeightStore(None, download=False).file(name)
    message = str(caught.value)
    assert FILES[name].file in message and FILES[name].url in message and "weights=<folder>" in message
    assert "\n" not in message


def test_a_failed_download_says_why_and_leaves_nothing(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, dst: str, *, progress: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsMissing, match="fetching it failed: no route to host"):
        WeightStore(None, download=True).file("alex")
    with pytest.raises(WeightsMissing, match=r"clip-vit-base-patch32/ \(config.json.*no route to host"):
        WeightStore(None, download=True).hub_folder("openai/clip-vit-base-patch32")
    assert list(empty_caches.rglob("*.pth")) == []


def test_a_file_is_found_in_the_folder_then_in_the_cache_and_checked(
    tmp_path: Path, empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = FILES["alex"]
    cached, own = empty_caches / entry.file, tmp_path / "own" / entry.file
    cached.write_bytes(b"weights")
    own.parent.mkdir()
    with pytest.raises(UserError, match="not the published file: its SHA-256 is"):
        WeightStore(None, download=False).file("alex")
    known = eval.networks.weights.WeightFile(entry.file, entry.url, sha256(cached))
    monkeypatch.setitem(eval.networks.weights.FILES, "alex", known)
    assert WeightStore(own.parent, download=False).file("alex") == cached
    own.write_bytes(b"weights")
    assert WeightStore(own.parent, download=False).file("alex") == own


def test_every_published_hash_is_a_sha256() -> None:
    hashes = {name: entry.sha256 for name, entry in (FILES | HUB).items()}
    unverified = {"i3d-pytorch", "resnet50-3d-kinetics", "dreamsim-open-clip"}
    assert {name for name, digest in hashes.items() if digest is None} == unverified
    assert all(len(bytes.fromhex(digest)) == 32 for digest in hashes.values() if digest is not None)


def test_a_mini_judge_that_is_not_here_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval.networks.weights, "MINI_WEIGHTS", tmp_path)
    with pytest.raises(WeightsMissing, match="mini-clip is not in this copy"):
        mini_folder("mini-clip")
