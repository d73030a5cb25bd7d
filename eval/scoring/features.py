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
from eval.metrics.spec import Side
from eval.networks.base import ClipNetwork, Network
from eval.networks.face import FaceNetwork, aligned_faces
from eval.networks.networks import Networks
from eval.networks.raft import RAFT
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence

log = logging.getLogger(__name__)

T = TypeVar("T")
# A network of clips holds the activations of 16 frames, one of flows those of about as many.
FRAMES_PER_CLIP = 16


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

    def per_window(self, network: ClipNetwork, side: Side) -> Tensor:
        """(windows, D): what a network of short videos makes of the windows that the protocol cuts."""
        choice = repr(self.protocol.fvd)
        return self._once(
            (network.name, side), lambda: self._stored(side, network, lambda: self.windows(network, side), choice)
        )

    def windows(self, network: ClipNetwork, side: Side) -> Tensor:
        """The same, computed whether or not it was before."""
        choice, frames_FCHW = self.protocol.fvd, self.frames(side)
        starts = clip_starts(
            len(frames_FCHW), clip_length=choice.clip_length, stride=choice.stride, drop_last=choice.drop_last
        )
        prepared_FCHW = self.networks.batched(network.prepare, frames_FCHW)
        clips_BFCHW = cut_clips(prepared_FCHW, starts, choice.clip_length)
        batch_size = max(1, self.networks.batch_size // FRAMES_PER_CLIP)
        return self.networks.batched(network, clips_BFCHW, batch_size=batch_size)

    def reference(self, network: Network) -> Tensor:
        """(D,): what a network of single frames makes of the reference image."""
        assert self.clip.reference is not None, "metrics that need a reference are fed where there is one"
        image_1CHW = _tensor(self.clip.reference[None])
        return self._once((network.name, "reference"), lambda: self.networks.batched(network, image_1CHW)[0])

    def flows(self, network: RAFT) -> tuple[Tensor, Tensor]:
        """Optical flow between consecutive generated frames, forward and back, (F - 1, 2, H, W) each."""

        def make() -> tuple[Tensor, Tensor]:
            frames_FCHW = self.frames("generated")
            if len(frames_FCHW) < 2:
                raise NotComputable(f"optical flow needs at least 2 frames, got {len(frames_FCHW)}")
            batch_size = max(1, self.networks.batch_size // FRAMES_PER_CLIP)
            pairs = (frames_FCHW[:-1], frames_FCHW[1:]), (frames_FCHW[1:], frames_FCHW[:-1])
            forward, backward = (self.networks.batched(network, *pair, batch_size=batch_size) for pair in pairs)
            return forward, backward

        return self._once((network.name,), make)

    def faces(self, network: FaceNetwork) -> Tensor:
        """(B, D): what a network makes of the faces of the generated frames that show one.

        Raises:
            NotComputable: nobody is seen in the reference image, or the extractor lacks its weights.
        """
        self.reference_poses()  # tells an extractor that cannot work from frames that show nobody

        def make() -> Tensor:
            faces_BCHW, _ = aligned_faces(self.clip.generated, self.generated_poses(self.networks.extractor))
            return network(faces_BCHW)

        return self._once((network.name, "generated"), make)

    def reference_face(self, network: FaceNetwork) -> Tensor | None:
        """(D,): what a network makes of the reference's face, None where all its landmarks are not seen; as `faces`."""
        assert self.clip.reference is not None, "metrics that need a reference are fed where there is one"
        faces_BCHW, _ = aligned_faces(self.clip.reference[None], self.reference_poses())
        return network(faces_BCHW)[0] if len(faces_BCHW) else None

    def reference_poses(self) -> PoseSequence:
        """The pose of the reference image; errors as for `faces`."""
        image_HWC = self.clip.reference
        assert image_HWC is not None, "metrics that need a reference are fed where there is one"

        def make() -> PoseSequence:
            try:
                return self.networks.extractor.extract(iter([image_HWC]), total=1)
            except UserError as error:
                raise NotComputable(f"reference image of {self.clip.name}: {error}") from error

        return self._once((self.networks.extractor.name, "reference"), make)

    def poses(self, extractor: PoseExtractor) -> tuple[PoseSequence, PoseSequence]:
        """Poses of the generated and of the real frames.

        Generated frames in which the extractor sees nobody have poses without a keypoint.

        Raises:
            NotComputable: nobody is seen in the real frames, or the extractor lacks its weights.
        """
        return self._once((extractor.name,), lambda: self._poses(extractor))

    def _poses(self, extractor: PoseExtractor) -> tuple[PoseSequence, PoseSequence]:
        real_FHWC = self.clip.real
        assert real_FHWC is not None
        try:
            real = self._real_poses(extractor, real_FHWC)
        except UserError as error:
            raise NotComputable(f"real frames of {self.clip.name}: {error}") from error
        return self.generated_poses(extractor), real

    def generated_poses(self, extractor: PoseExtractor) -> PoseSequence:
        """Poses of the generated frames; an extractor that was seen to work finds nobody where it raises."""

        def make() -> PoseSequence:
            frames_FHWC = self.clip.generated
            try:
                return extractor.extract(iter(frames_FHWC), total=len(frames_FHWC))
            except UserError as error:
                log.warning("generated frames of %s: %s", self.clip.name, error)
                nothing = np.zeros((len(frames_FHWC), NUM_KEYPOINTS))
                return PoseSequence(np.zeros((*nothing.shape, 2)), nothing, nothing)

        return self._once((extractor.name, "generated"), make)

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
