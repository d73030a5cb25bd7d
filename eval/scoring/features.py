"""Networks loaded once, and a clip's features computed once, for all metrics of a run."""

import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from eval.metrics.base import NotComputable
from eval.metrics.fvd import clip_starts, cut_clips
from eval.metrics.lpips import LPIPSNetwork
from eval.networks.feature_networks import CLIP, I3D, Inception, Network
from eval.networks.weights import HUB, WeightStore, mini_folder
from eval.scoring.clips import Clip
from eval.scoring.feature_store import FeatureStore
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.files import sha256
from src.common.paths import CONF_DIR
from src.pose.extractors.base import PoseExtractor
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence

log = logging.getLogger(__name__)

T = TypeVar("T")
Side = Literal["generated", "real"]
# I3D holds the activations of 16 frames a clip.
FRAMES_PER_I3D_CLIP = 16


class Toolbox:
    """The networks that a protocol names, each loaded when first asked for.

    Args:
        features: keeps what was computed from real frames; None: nothing is kept.

    Every network raises `eval.networks.weights.WeightsMissing` where its network is not to be had.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: WeightStore,
        extractor: PoseExtractor,
        *,
        device: torch.device,
        batch_size: int,
        features: FeatureStore | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        if extractor.name != protocol.mse_p.extractor:
            raise UserError(
                f"protocol {protocol.name} takes poses by {protocol.mse_p.extractor}, but pose={extractor.name}: to "
                f"depart from it, say so in both: pose={extractor.name} protocol.mse_p.extractor={extractor.name}"
            )
        self.protocol, self.store, self.extractor = protocol, store, extractor
        self.device, self.batch_size, self.features = device, batch_size, features

    @functools.cached_property
    def lpips(self) -> LPIPSNetwork:
        choice = self.protocol.lpips
        network = LPIPSNetwork(choice.backbone, self.store.file(choice.backbone), input_range=choice.input_range)
        return network.to(self.device)

    @functools.cached_property
    def inception(self) -> Inception:
        kind = self.protocol.fid.network
        return Inception(kind, self.store.file(kind)).to(self.device)

    @functools.cached_property
    def i3d(self) -> I3D:
        kind = self.protocol.fvd.network
        return I3D(kind, self.store.file(kind)).to(self.device)

    @functools.cached_property
    def clip(self) -> CLIP:
        model = HUB[self.protocol.clip.model]
        folder = self.store.hub_folder(model.repo)
        return CLIP(folder, name=model.repo, digest=sha256(folder / model.weights)).to(self.device)

    @functools.cached_property
    def clip_mini(self) -> CLIP:
        folder = mini_folder("mini-clip")
        return CLIP(folder, name="mini-clip", digest=sha256(folder / "model.safetensors")).to(self.device)

    @functools.cached_property
    def extractor_mini(self) -> PoseExtractor:
        mini_folder("mini-keypoints")
        return instantiate(OmegaConf.load(CONF_DIR / "pose" / "mini.yaml"))

    def batched(self, network: Callable[..., Tensor], *inputs: Tensor, batch_size: int | None = None) -> Tensor:
        """Run a network over the first axis in batches, on the device; (B, …)."""
        step = batch_size or self.batch_size
        chunks = zip(*(tensor.split(step) for tensor in inputs), strict=True)
        return torch.cat([network(*(chunk.to(self.device) for chunk in group)) for group in chunks])


@dataclass
class ClipView:
    """One clip on the device, with its features computed when first asked for and then shared."""

    clip: Clip
    tools: Toolbox
    _cache: dict[tuple[object, ...], object] = field(default_factory=dict)

    def frames(self, side: Side) -> Tensor:
        """(F, 3, H, W) uint8 on the device."""
        frames_FHWC = self.clip.generated if side == "generated" else self.clip.real
        assert frames_FHWC is not None, "the scorer asks for real frames only where there are some"
        return self._once((side,), lambda: _tensor(frames_FHWC).to(self.tools.device))

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of generated and real frames."""
        step = self.tools.batch_size
        yield from zip(self.frames("generated").split(step), self.frames("real").split(step), strict=True)

    def inception(self, side: Side) -> Tensor:
        """(F, 2048) features."""
        network = self.tools.inception
        return self._once(("inception", side), lambda: self._stored(side, network, lambda: self._inception(side)))

    def _inception(self, side: Side) -> Tensor:
        return self.tools.batched(self.tools.inception, self.frames(side))

    def i3d(self, side: Side) -> Tensor:
        """(clips, 400) features of the clips that the protocol cuts."""
        network, choice = self.tools.i3d, repr(self.tools.protocol.fvd)
        return self._once(("i3d", side), lambda: self._stored(side, network, lambda: self._i3d(side), choice))

    def _i3d(self, side: Side) -> Tensor:
        choice, network = self.tools.protocol.fvd, self.tools.i3d
        frames_FCHW = self.frames(side)
        starts = clip_starts(
            len(frames_FCHW), clip_length=choice.clip_length, stride=choice.stride, drop_last=choice.drop_last
        )
        prepared_FCHW = self.tools.batched(network.prepare, frames_FCHW)
        clips_BFCHW = cut_clips(prepared_FCHW, starts, choice.clip_length)
        batch_size = max(1, self.tools.batch_size // FRAMES_PER_I3D_CLIP)
        return self.tools.batched(network, clips_BFCHW, batch_size=batch_size)

    def embeddings(self, network: Network) -> Tensor:
        """(F, D) CLIP embeddings of the generated frames."""
        return self._once((network.name,), lambda: self.tools.batched(network, self.frames("generated")))

    def reference(self, network: Network) -> Tensor:
        """(D,) CLIP embedding of the reference image."""
        assert self.clip.reference is not None, "the scorer asks for a reference only where there is one"
        image_1CHW = _tensor(self.clip.reference[None])
        return self._once((network.name, "reference"), lambda: self.tools.batched(network, image_1CHW)[0])

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

        store = self.tools.features
        return extract() if store is None else store.poses(real_FHWC, [extractor.fingerprint()], extract)

    def _stored(self, side: Side, network: Network, make: Callable[[], Tensor], choice: str = "") -> Tensor:
        """Of the real frames, what the store has of them."""
        if side == "generated" or self.tools.features is None:
            return make()
        assert self.clip.real is not None
        how = [network.name, network.sha256, self.tools.device.type, choice]
        return self.tools.features.tensor(self.clip.real, how, make).to(self.tools.device)

    def _once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]  # type: ignore[return-value]


def _tensor(frames_FHWC: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(frames_FHWC, requirements=("C", "W"))).permute(0, 3, 1, 2).contiguous()
