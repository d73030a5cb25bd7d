"""Networks whose publisher gives no checksum: what file judges, as a part of a result's identity."""

import logging
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import torch

from eval.metrics.registry import REGISTRY
from eval.networks.clip import CLIP
from eval.networks.networks import Networks, mini_folder
from eval.networks.weights import FILES, WeightsMissing, WeightStore
from eval.scoring.protocol import Protocol
from src.common.digests import sha256
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor

log = logging.getLogger(__name__)
MINI_JUDGES = {"mini-clip", "mini-keypoints"}


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


def judged_by(metrics: Sequence[str], protocol: Protocol, extractor: PoseExtractor, store: WeightStore) -> list[Any]:
    """What the values depend on that no setting and no publisher's checksum says.

    Returns:
        Checksums of networks without a published one, and of those that ship with the repository; and the extractor.
    """
    asked = _asked(metrics, protocol, extractor)
    shipped = {name: sha256(mini_folder(name) / "model.safetensors") for name in sorted(asked & MINI_JUDGES)}
    try:
        finds_poses = extractor.fingerprint()
    except UserError:  # it has no weights, and so no value that would depend on them
        finds_poses = None
    return [checksums(_unpublished(asked), store), shipped, finds_poses]


def unpublished(metrics: Sequence[str], protocol: Protocol, extractor: PoseExtractor) -> list[str]:
    """Names in `FILES` of the networks that these metrics ask for and nobody gives a checksum of."""
    return _unpublished(_asked(metrics, protocol, extractor))


def _unpublished(names: Set[str]) -> list[str]:
    return sorted(name for name in names if name in FILES and FILES[name].sha256 is None)


def _asked(metrics: Sequence[str], protocol: Protocol, extractor: PoseExtractor) -> set[str]:
    """Names of the networks that these metrics ask for."""
    store = _AskedStore(None, download=False)
    names: set[str] = set()
    for key in metrics:
        networks = _Asked(store, extractor=extractor, device=torch.device("cpu"), batch_size=1)
        try:
            REGISTRY[key].judge(networks, protocol)
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
