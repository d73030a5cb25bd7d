"""The networks of a run, each loaded when first asked for and then shared by all metrics."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from eval.networks.base import Network
from eval.networks.clip import CLIP
from eval.networks.dinov2 import DINOv2
from eval.networks.dreamsim import DreamSimNetwork
from eval.networks.face import FaceNetwork
from eval.networks.i3d import I3D
from eval.networks.inception import Inception
from eval.networks.lpips import LPIPSNetwork
from eval.networks.raft import RAFT
from eval.networks.resnet3d import ResNet3D
from eval.networks.videomae import VideoMAE
from eval.networks.weights import HUB, WeightStore, check_settings, mini_folder
from src.common.digests import sha256
from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor
from src.pose.extractors.mini import MiniExtractor

T = TypeVar("T", bound="Judge")

# What looks at frames for a metric.
Judge = Network | PoseExtractor


class Rows(Protocol):
    """A tensor, or what makes the rows of one as they are asked for, in their order."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


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
            weights = HUB[name].weights
            made = CLIP(folder, name=name, digest=sha256(folder / weights), weights=weights)
            check_settings(name, folder, made.model.config.to_dict()["vision_config"] | made.processor.to_dict())
            return made

        return self.load((name,), make)

    def dinov2(self) -> DINOv2:
        def make() -> DINOv2:
            name = "facebook/dinov2-large"
            folder = self.store.hub_folder(name)
            made = DINOv2(folder, name=name, digest=sha256(folder / HUB[name].weights))
            check_settings(name, folder, made.model.config.to_dict())
            return made

        return self.load(("dinov2",), make)

    def dreamsim(self) -> DreamSimNetwork:
        return self.load(
            ("dreamsim",), lambda: DreamSimNetwork(self.store.file("dreamsim-open-clip"), device=self.device)
        )

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

    def batched(self, network: Callable[..., Tensor], *inputs: Rows) -> Tensor:
        """Run a network over the first axis in batches, on the device; (B, …)."""
        return self.batched_across(network, [inputs], batch_size=self.batch_size)[0]

    def batched_across(
        self, network: Callable[..., Tensor], clips: Sequence[tuple[Rows, ...]], *, batch_size: int
    ) -> list[Tensor]:
        """The same for several clips, whose rows share batches where they have one shape; what each clip gives.

        Args:
            clips: by clip the inputs, each with as many rows as the clip's others. One without rows gives none, (0, 1).
            batch_size: rows a forward pass.
        """
        shapes: dict[object, list[int]] = defaultdict(list)
        for number, inputs in enumerate(clips):
            shapes[tuple(tensor.shape[1:] for tensor in inputs)].append(number)
        outputs: list[list[Tensor]] = [[] for _ in clips]
        for numbers in shapes.values():
            counts = [(number, len(clips[number][0])) for number in numbers]
            for batch in _shared_batches(counts, batch_size):
                pieces = [[tensor[rows] for tensor in clips[number]] for number, rows in batch]
                made = network(*(_joined(column).to(self.device) for column in zip(*pieces, strict=True)))
                sizes = [rows.stop - rows.start for _, rows in batch]
                for (number, _), output in zip(batch, made.split(sizes), strict=True):
                    outputs[number].append(output)
        return [_joined(parts) if parts else torch.zeros(0, 1, device=self.device) for parts in outputs]


def _shared_batches(counts: Sequence[tuple[int, int]], size: int) -> Iterator[list[tuple[int, slice]]]:
    """Batches of at most `size` rows out of several clips, as which clip and which of its rows.

    >>> list(_shared_batches([(0, 3), (1, 2)], 4))
    [[(0, slice(0, 3, None)), (1, slice(0, 1, None))], [(1, slice(1, 2, None))]]
    """
    batch: list[tuple[int, slice]] = []
    room = size
    for number, count in counts:
        start = 0
        while start < count:
            stop = min(count, start + room)
            batch.append((number, slice(start, stop)))
            room -= stop - start
            start = stop
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu, cuda or cuda:N, got {name}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but no GPU is available: use device=cpu")
    if device.index is not None and device.type == "cuda" and device.index >= (count := torch.cuda.device_count()):
        last = "only GPU" if count == 1 else f"last of the {count} GPUs"
        raise UserError(f"device={name}, but the {last} here is cuda:{count - 1}")
    return device
