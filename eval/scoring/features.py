"""Clips' features, each computed once for all metrics of a run, in batches that go across clips.

Dimensions: F frames, B rows, D features, H x W pixels, C = 3 channels in RGB order.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from torch import Tensor

from eval.metrics.base import NotComputable, same_shape
from eval.metrics.fvd import clip_starts
from eval.metrics.spec import Side
from eval.networks.base import ClipNetwork, Network
from eval.networks.face import FaceNetwork, aligned_faces
from eval.networks.networks import Networks, Rows
from eval.networks.raft import RAFT
from eval.scoring.clips import ScoredClip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.frame_tensors import FrameTensors, WindowTensors, as_tensor
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.pose.extractors.base import FileExtractor, PoseExtractor
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.tracking import NobodyFound

log = logging.getLogger(__name__)

T = TypeVar("T")
# A network of clips holds the activations of 16 frames, one of flows those of about as many.
FRAMES_PER_CLIP = 16


@dataclass
class ClipFeatures:
    """One clip on the device, with its features computed when first asked for and then shared.

    Args:
        store: keeps what was computed from real frames; None: nothing is kept.
        peers: clips, this one among them, for which a network that is asked for one looks at all, so that its batches
            are full; it may be changed between two questions. Empty: this one alone.
    """

    clip: ScoredClip
    networks: Networks
    protocol: Protocol
    store: FeatureStore | None = None
    peers: "Sequence[ClipFeatures]" = ()
    _cache: dict[tuple[object, ...], object] = field(default_factory=dict)

    def frames(self, side: Side) -> FrameTensors:
        """(F, 3, H, W) uint8 on the device, of a long clip as they are asked for."""
        frames_FHWC = self.clip.generated if side == "generated" else self.clip.real
        assert frames_FHWC is not None, "metrics that need real frames are fed where there are some"
        return self._once((side,), lambda: FrameTensors(frames_FHWC, self.networks.device))

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of generated and real frames."""
        step = self.networks.batch_size
        yield from zip(self.frames("generated").split(step), self.frames("real").split(step), strict=True)

    def per_frame(self, network: Network, side: Side) -> Tensor:
        """(F, D): what a network of single frames makes of one side."""

        def count(clip: ClipFeatures) -> int:
            return len(clip.clip.generated)

        kept = count if side == "real" else None
        return self._together((network.name, side), network, lambda clip: (clip.frames(side),), kept=kept)

    def per_pair(self, network: Network) -> Tensor:
        """(F,): what a network of pairs makes of each generated frame and its true one.

        Raises:
            UserError: both sides differ in number or size.
            NotComputable: the frames are too small for the network.
        """

        def pair(clip: ClipFeatures) -> tuple[Rows, ...]:
            sides = clip.frames("generated"), clip.frames("real")
            same_shape(*sides)
            _check_size(sides[0], network)
            return sides

        return self._together((network.name,), network, pair)

    def per_window(self, network: ClipNetwork, side: Side) -> Tensor:
        """(windows, D): what a network of short videos makes of the windows that the protocol cuts."""
        choice = self.protocol.fvd

        def starts(clip: ClipFeatures) -> range:
            cut = {"clip_length": choice.clip_length, "stride": choice.stride, "drop_last": choice.drop_last}
            return clip_starts(len(clip.clip.generated), **cut)

        def windows(clip: ClipFeatures) -> tuple[Rows, ...]:
            how = {"length": choice.clip_length, "batch_size": clip.networks.batch_size}
            return (WindowTensors(clip.frames(side), network.prepare, starts=starts(clip), **how),)

        return self._together(
            (network.name, side),
            network,
            windows,
            kept=(lambda clip: len(starts(clip))) if side == "real" else None,
            choice=repr(choice),
            frames_per_row=FRAMES_PER_CLIP,
        )

    def reference(self, network: Network) -> Tensor:
        """(D,): what a network of single frames makes of the reference image."""

        def image(clip: ClipFeatures) -> tuple[Rows, ...]:
            assert clip.clip.reference is not None, "metrics that need a reference are fed where there is one"
            return (as_tensor(clip.clip.reference[None]),)

        return self._together((network.name, "reference"), network, image)[0]

    def flows(self, network: RAFT) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Batches of consecutive generated frames, before and after (P, 3, H, W), and the optical flow between them.

        The flows (P, 2, H, W), forward and back, are larger than the frames: none is kept.

        Raises:
            NotComputable: the frames are too small for the network.
        """
        frames, step = self.frames("generated"), max(1, self.networks.batch_size // FRAMES_PER_CLIP)
        _check_size(frames, network)
        for start in range(0, len(frames) - 1, step):
            joined_FCHW = frames[start : start + step + 1]
            before, after = joined_FCHW[:-1], joined_FCHW[1:]
            yield before, after, network(before, after), network(after, before)

    def faces(self, network: FaceNetwork) -> Tensor:
        """(B, D): what a network makes of the faces of the generated frames that show one.

        Raises:
            NotComputable: as of `generated_poses`.
        """

        def aligned(clip: ClipFeatures) -> tuple[Rows, ...]:
            return (aligned_faces(clip.clip.generated, clip.generated_poses(clip.networks.extractor))[0],)

        return self._together((network.name, "generated"), network, aligned)

    def reference_face(self, network: FaceNetwork) -> Tensor | None:
        """(D,): what a network makes of the reference's face, None where not all its landmarks are seen.

        Raises:
            NotComputable: nobody is seen in the reference image, or the extractor lacks its weights.
        """
        assert self.clip.reference is not None, "metrics that need a reference are fed where there is one"
        faces_BCHW, _ = aligned_faces(self.clip.reference[None], self.reference_poses())
        return network(faces_BCHW)[0] if len(faces_BCHW) else None

    def reference_poses(self) -> PoseSequence:
        """The pose of the reference image; errors as for `reference_face`."""
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
            NotComputable: nobody is seen in the real frames; else as of `generated_poses`.
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
        """Poses of the generated frames; without a keypoint where the extractor sees nobody in any of them.

        Raises:
            NotComputable: the extractor lacks its weights, or looks at no frames.
        """

        def make() -> PoseSequence:
            frames_FHWC = self.clip.generated
            if isinstance(extractor, FileExtractor):
                # Both sides would have the same poses, and the best value whatever was generated.
                raise NotComputable(
                    "pose=file reads keypoints and looks at no frames, so that it finds none in generated ones: take "
                    "another extractor"
                )
            try:
                return extractor.extract(iter(frames_FHWC), total=len(frames_FHWC))
            except NobodyFound as error:
                log.warning("generated frames of %s: %s", self.clip.name, error)
                nothing = np.zeros((len(frames_FHWC), NUM_KEYPOINTS))
                return PoseSequence(np.zeros((*nothing.shape, 2)), nothing, nothing)
            except UserError as error:
                raise NotComputable(f"generated frames of {self.clip.name}: {error}") from error

        return self._once((extractor.name, "generated"), make)

    def _real_poses(self, extractor: PoseExtractor, real_FHWC: np.ndarray) -> PoseSequence:
        def extract() -> PoseSequence:
            return extractor.extract(iter(real_FHWC), total=len(real_FHWC))

        content = self.clip.real_sha256
        if self.store is None or content is None:
            return extract()
        return self.store.poses(content, [extractor.fingerprint()], extract, count=len(real_FHWC))

    def _together(
        self,
        key: tuple[object, ...],
        network: Network,
        inputs: "Callable[[ClipFeatures], tuple[Rows, ...]]",
        *,
        kept: "Callable[[ClipFeatures], int] | None" = None,
        choice: str = "",
        frames_per_row: int = 1,
    ) -> Tensor:
        """What a network makes of this clip, computed with that of all peers when one of them is first asked.

        Args:
            inputs: of a clip; it raises `NotComputable` of one that has no value, which does not keep the others.
            kept: how many rows it has of a clip's real frames, on which it depends, so that the store has it or gets
                it; None: it depends on others.
            choice: what else it depends on.
            frames_per_row: how many frames' memory a row takes.
        """
        if key not in self._cache:
            how = [network.name, network.sha256, self.networks.device.type, choice]
            wanted: list[tuple[ClipFeatures, tuple[Rows, ...]]] = []
            for clip in self.peers or (self,):
                try:
                    columns = getattr(network, "num_features", None)
                    if key in clip._cache or (kept is not None and clip._find(key, how, (kept(clip), columns))):
                        continue
                    wanted.append((clip, inputs(clip)))
                except NotComputable:
                    if clip is self:
                        raise
            batch_size = max(1, self.networks.batch_size // frames_per_row)
            made = self.networks.batched_across(network, [given for _, given in wanted], batch_size=batch_size)
            for (clip, _), features in zip(wanted, made, strict=True):
                clip._cache[key] = features
                if kept is not None and clip.store is not None and (content := clip.clip.real_sha256) is not None:
                    clip.store.keep(content, how, features)
        return self._cache[key]  # type: ignore[return-value]

    def _find(self, key: tuple[object, ...], how: list[str], shape: tuple[int, int | None]) -> bool:
        """Whether the store has these features of the real frames, which are then this clip's."""
        if self.store is None or (content := self.clip.real_sha256) is None:
            return False
        found = self.store.find(content, how, shape)
        if found is not None:
            self._cache[key] = found.to(self.networks.device)
        return found is not None

    def _once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]  # type: ignore[return-value]


def _check_size(frames: FrameTensors, network: Network) -> None:
    height, width = frames.shape[2:]
    if min(height, width) < network.smallest:
        raise NotComputable(
            f"{network.name} needs frames of at least {network.smallest} pixels a side, got {width}x{height}"
        )
