"""What file judges, as a part of a result's identity, where no publisher's checksum says it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from eval.metrics.registry import REGISTRY
from eval.networks.clip import CLIP
from eval.networks.networks import Networks
from eval.networks.weights import FILES, HUB, WeightsMissing, WeightStore, mini_folder
from eval.scoring.settings import ScoreSettings
from src.common.digests import sha256
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor

log = logging.getLogger(__name__)


class _Named(Exception):
    """The name of a network that was asked for."""


class _AskedStore(WeightStore):
    """Loads nothing: says by `_Named` what it was asked for."""

    def file(self, name: str) -> Path:
        raise _Named(name)

    def hub_folder(self, name: str) -> Path:
        raise _Named(name)


class _Asked(Networks):
    """Loads what ships with the repository no more than what lies in a store."""

    def mini_clip(self) -> CLIP:
        raise _Named("mini-clip")

    def mini_extractor(self) -> PoseExtractor:
        raise _Named("mini-keypoints")


def shipped_and_extractor(scoring: ScoreSettings, extractor: PoseExtractor) -> list[Any]:
    """Checksums of the networks that ship with the repository, by name, and the extractor's fingerprint."""
    names = _asked(scoring, extractor) - FILES.keys() - HUB.keys()
    shipped = {name: sha256(mini_folder(name) / "model.safetensors") for name in sorted(names)}
    try:
        finds_poses = extractor.fingerprint()
    except UserError:  # it has no weights, and so no value that would depend on them
        finds_poses = None
    return [shipped, finds_poses]


def unpublished(scoring: ScoreSettings, extractor: PoseExtractor) -> list[str]:
    """Names in `FILES` of the networks that these metrics ask for and nobody gives a checksum of."""
    names = _asked(scoring, extractor)
    return sorted(name for name in names if name in FILES and FILES[name].sha256 is None)


def _asked(scoring: ScoreSettings, extractor: PoseExtractor) -> set[str]:
    """Names of the networks that these metrics ask for."""
    store = _AskedStore(None, download=False)
    names: set[str] = set()
    for key in scoring.metrics:
        networks = _Asked(store, extractor=extractor, device=torch.device("cpu"), batch_size=1)
        try:
            REGISTRY[key].judge(networks, scoring.protocol)
        except _Named as asked:
            names.add(str(asked))
    return names


def fetch(names: Sequence[str], store: WeightStore) -> None:
    """Bring the files here that are to be had, so that `checksums` is the same before and after scoring."""
    for name in names:
        try:
            store.file(name)
        except WeightsMissing as error:
            log.debug("%s", error)


def checksums(names: Sequence[str], store: WeightStore) -> dict[str, str]:
    """SHA-256 of the files that are here, by name."""
    paths = {name: store.find(name) for name in names}
    return {name: sha256(path) for name, path in paths.items() if path is not None}
