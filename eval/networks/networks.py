"""The networks of a run, each loaded when first asked for and then shared by all metrics."""

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from torch import Tensor

from eval.networks.base import Network
from eval.networks.clip import CLIP
from eval.networks.dinov2 import DINOv2
from eval.networks.face import FaceNetwork
from eval.networks.i3d import I3D
from eval.networks.inception import Inception
from eval.networks.lpips import LPIPSNetwork
from eval.networks.raft import RAFT
from eval.networks.resnet3d import ResNet3D
from eval.networks.videomae import VideoMAE
from eval.networks.weights import HUB, WeightStore, mini_folder
from src.common.digests import sha256
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor
from src.pose.extractors.mini import MiniExtractor

T = TypeVar("T", bound="Judge")

# What looks at frames for a metric.
Judge = Network | PoseExtractor


class Networks:
    """Loads networks onto one device and keeps them.

    Every method raises `eval.networks.weights.WeightsMissing` where its network is not to be had.

    Args:
        extractor: of the poses of MSE-P.
        batch_size: frames a forward pass, at least 1; it changes no number.
    """

    def __init__(self, store: WeightStore, *, extractor: PoseExtractor, device: torch.device, batch_size: int) -> None:
        self.store, self.extractor, self.device, self.batch_size = store, extractor, device, batch_size
        self._loaded: dict[tuple[object, ...], Judge] = {}

    def lpips(self, backbone: Literal["alex", "vgg"], input_range: tuple[float, float]) -> LPIPSNetwork:
        return self.load(
            ("lpips", backbone, *input_range),
            lambda: LPIPSNetwork(backbone, self.store.file(backbone), input_range=input_range),
        )

    def inception(self, kind: Literal["inception-torchscript", "inception-pytorch"]) -> Inception:
        return self.load((kind,), lambda: Inception(kind, self.store.file(kind)))

    def i3d(self, kind: Literal["i3d-torchscript", "i3d-pytorch"]) -> I3D:
        return self.load((kind,), lambda: I3D(kind, self.store.file(kind)))

    def clip(self, name: Literal["openai/clip-vit-base-patch32"]) -> CLIP:
        def make() -> CLIP:
            folder = self.store.hub_folder(name)
            return CLIP(folder, name=name, digest=sha256(folder / HUB[name].weights))

        return self.load((name,), make)

    def dinov2(self) -> DINOv2:
        def make() -> DINOv2:
            name = "facebook/dinov2-large"
            folder = self.store.hub_folder(name)
            return DINOv2(folder, name=name, digest=sha256(folder / HUB[name].weights))

        return self.load(("dinov2",), make)

    def videomae(self) -> VideoMAE:
        return self.load(("videomae",), lambda: VideoMAE(self.store.file("videomae-v2-ssv2")))

    def resnet3d(self) -> ResNet3D:
        return self.load(("resnet3d",), lambda: ResNet3D(self.store.file("resnet50-3d-kinetics")))

    def raft(self) -> RAFT:
        return self.load(("raft",), lambda: RAFT(self.store.file("raft-large")))

    def face(self, kind: Literal["arcface-w600k-r50", "ediffiqa-tiny"]) -> FaceNetwork:
        return self.load((kind,), lambda: FaceNetwork(kind, self.store.file(kind)))

    def mini_clip(self) -> CLIP:
        def make() -> CLIP:
            folder = mini_folder("mini-clip")
            return CLIP(folder, name="mini-clip", digest=sha256(folder / "model.safetensors"))

        return self.load(("mini-clip",), make)

    def mini_extractor(self) -> PoseExtractor:
        def make() -> MiniExtractor:
            mini_folder("mini-keypoints")
            return MiniExtractor()

        return self.load(("mini-keypoints",), make)

    def load(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """The network of this key, made and put on the device once."""
        if key not in self._loaded:
            made = make()
            self._loaded[key] = made.to(self.device) if isinstance(made, torch.nn.Module) else made
        return self._loaded[key]  # type: ignore[return-value]

    def batched(self, network: Callable[..., Tensor], *inputs: Tensor, batch_size: int | None = None) -> Tensor:
        """Run a network over the first axis in batches, on the device; (B, …)."""
        step = batch_size or self.batch_size
        chunks = zip(*(tensor.split(step) for tensor in inputs), strict=True)
        return torch.cat([network(*(chunk.to(self.device) for chunk in group)) for group in chunks])


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but no GPU is available: use device=cpu")
    return device
