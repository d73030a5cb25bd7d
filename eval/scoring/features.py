"""A clip's features, each computed once for all metrics of a run."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from eval.metrics.base import NotComputable
from eval.metrics.fvd import clip_starts, cut_clips
from eval.metrics.registry import Side
from eval.networks.base import Network
from eval.networks.i3d import I3D
from eval.networks.networks import Networks
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence

log = logging.getLogger(__name__)

T = TypeVar("T")
# I3D holds the activations of 16 frames a clip.
FRAMES_PER_I3D_CLIP = 16


@dataclass
class ClipFeatures:
    """One clip on the device, with its features computed when first asked for and then shared.

    Args:
        store: keeps what was computed from real frames; None: nothing is kept.
    """

    clip: ScoredClip
    networks: Networks
    protocol: Protocol
    store: FeatureStore | None = None
    _cache: dict[tuple[object, ...], object] = field(default_factory=dict)

    def frames(self, side: Side) -> Tensor:
        """(F, 3, H, W) uint8 on the device."""
        frames_FHWC = self.clip.generated if side == "generated" else self.clip.real
        assert frames_FHWC is not None, "metrics that need real frames are fed where there are some"
        return self._once((side,), lambda: _tensor(frames_FHWC).to(self.networks.device))

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of generated and real frames."""
        step = self.networks.batch_size
        yield from zip(self.frames("generated").split(step), self.frames("real").split(step), strict=True)

    def per_frame(self, network: Network, side: Side) -> Tensor:
        """(F, D): what a network of single frames makes of one side."""

        def make() -> Tensor:
            return self.networks.batched(network, self.frames(side))

        return self._once((network.name, side), lambda: self._stored(side, network, make))

    def per_window(self, network: I3D, side: Side) -> Tensor:
        """(windows, D): what a network of short videos makes of the windows that the protocol cuts."""
        choice = repr(self.protocol.fvd)
        return self._once(
            (network.name, side), lambda: self._stored(side, network, lambda: self.windows(network, side), choice)
        )

    def windows(self, network: I3D, side: Side) -> Tensor:
        """The same, computed whether or not it was before."""
        choice, frames_FCHW = self.protocol.fvd, self.frames(side)
        starts = clip_starts(
            len(frames_FCHW), clip_length=choice.clip_length, stride=choice.stride, drop_last=choice.drop_last
        )
        prepared_FCHW = self.networks.batched(network.prepare, frames_FCHW)
        clips_BFCHW = cut_clips(prepared_FCHW, starts, choice.clip_length)
        batch_size = max(1, self.networks.batch_size // FRAMES_PER_I3D_CLIP)
        return self.networks.batched(network, clips_BFCHW, batch_size=batch_size)

    def reference(self, network: Network) -> Tensor:
        """(D,): what a network of single frames makes of the reference image."""
        assert self.clip.reference is not None, "metrics that need a reference are fed where there is one"
        image_1CHW = _tensor(self.clip.reference[None])
        return self._once((network.name, "reference"), lambda: self.networks.batched(network, image_1CHW)[0])

    def poses(self, extractor: PoseExtractor) -> tuple[PoseSequence, PoseSequence]:
        """Poses of the generated and of the real frames.

        Generated frames in which the extractor sees nobody have poses without a keypoint.

        Raises:
            NotComputable: nobody is seen in the real frames, or the extractor lacks its weights.
        """
        return self._once((extractor.name,), lambda: self._poses(extractor))

    def _poses(self, extractor: PoseExtractor) -> tuple[PoseSequence, PoseSequence]:
        generated_FHWC, real_FHWC = self.clip.generated, self.clip.real
        assert real_FHWC is not None
        try:
            real = self._real_poses(extractor, real_FHWC)
        except UserError as error:
            raise NotComputable(f"real frames of {self.clip.name}: {error}") from error
        try:
            generated = extractor.extract(iter(generated_FHWC), total=len(generated_FHWC))
        except UserError as error:
            log.warning("generated frames of %s: %s", self.clip.name, error)
            nothing = np.zeros((len(generated_FHWC), NUM_KEYPOINTS))
            generated = PoseSequence(np.zeros((*nothing.shape, 2)), nothing, nothing)
        return generated, real

    def _real_poses(self, extractor: PoseExtractor, real_FHWC: np.ndarray) -> PoseSequence:
        def extract() -> PoseSequence:
            return extractor.extract(iter(real_FHWC), total=len(real_FHWC))

        return extract() if self.store is None else self.store.poses(real_FHWC, [extractor.fingerprint()], extract)

    def _stored(self, side: Side, network: Network, make: Callable[[], Tensor], choice: str = "") -> Tensor:
        """Of the real frames, what the store has of them."""
        if side == "generated" or self.store is None:
            return make()
        assert self.clip.real is not None
        how = [network.name, network.sha256, self.networks.device.type, choice]
        return self.store.tensor(self.clip.real, how, make).to(self.networks.device)

    def _once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]  # type: ignore[return-value]


def _tensor(frames_FHWC: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(frames_FHWC, requirements=("C", "W"))).permute(0, 3, 1, 2).contiguous()
