"""The miniature whole-body keypoint detector: a judge for rendered people, where DWPose cannot be had.

Dimensions: B frames, C channels, S = 128 pixels (side of the input), G = 32 cells (side of a heatmap), K keypoints.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from src.common.digests import sha256
from src.common.errors import DamagedFile, UserError, explained, in_one_line
from src.common.paths import MINI_WEIGHTS
from src.common.progress import track
from src.common.reading import open_regular, read_json
from src.pose.extractors.base import PoseExtractor
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.tracking import NobodyFound

SIDE = 128
NUM_LEVELS, MAX_CHANNELS = 5, 1024
WEIGHTS = MINI_WEIGHTS / "mini-keypoints"


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class KeypointNet(nn.Module, PyTorchModelHubMixin):
    """A small U-shaped network with one heatmap a keypoint; coordinates are the heatmap's mean (soft-argmax).

    Integral regression (Sun et al. 2018): the mean of a softmax has sub-cell precision and a gradient.

    Args:
        channels: at a half, a quarter, an eighth, a sixteenth and a thirty-second of the input's side.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 48, 96, 128, 128)) -> None:
        super().__init__()
        sizes = [3, *channels]
        self.down = nn.ModuleList(_block(a, b, stride=2) for a, b in pairwise(sizes))
        self.up = nn.ModuleList(
            _block(deep + skip, skip) for deep, skip in zip(channels[:1:-1], channels[-2:0:-1], strict=True)
        )
        self.heatmaps = nn.Conv2d(channels[1], NUM_KEYPOINTS, 1)
        self.visibility = nn.Linear(channels[-1], NUM_KEYPOINTS)

    def forward(self, images_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        """Find the keypoints of images in [0, 1].

        Returns:
            Coordinates (B, K, 2), x and y in units of the frame, and logits (B, K) of being seen.
        """
        features, skips = images_BCSS * 2 - 1, []
        for block in self.down:
            features = block(features)
            skips.append(features)
        seen_BK = self.visibility(features.mean((2, 3)))
        for block, skip in zip(self.up, skips[-2:0:-1], strict=True):
            features = nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([features, skip], 1))
        heat_BKGG = self.heatmaps(features).float()
        weights_BKGG = heat_BKGG.flatten(2).softmax(-1).view_as(heat_BKGG)
        centres_G = (torch.arange(heat_BKGG.shape[-1], device=heat_BKGG.device) + 0.5) / heat_BKGG.shape[-1]
        x_BK = (weights_BKGG.sum(2) * centres_G).sum(-1)
        y_BK = (weights_BKGG.sum(3) * centres_G).sum(-1)
        return torch.stack([x_BK, y_BK], -1), seen_BK.float()


class MiniExtractor(PoseExtractor):
    """`KeypointNet` as a pose extractor. It was trained on rendered people and knows nothing else.

    Args:
        weights: folder of the network.
        visibility_threshold: keypoints less probable to be seen are unseen.
    """

    name = "mini"
    caution = "pose=mini has seen drawn people alone: of a filmed one its poses are wrong; use pose=dwpose or mediapipe"

    def __init__(self, *, weights: str | Path = WEIGHTS, visibility_threshold: float = 0.5) -> None:
        self.weights, self.visibility_threshold = Path(weights), visibility_threshold
        self._net: KeypointNet | None = None

    def fingerprint(self) -> str:
        return f"mini visibility_threshold={self.visibility_threshold} {sha256(self._file())}"

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        if self._net is None:
            self._net = _load(self._file())
        net = self._net
        parts = [self._detect(net, frame) for frame in track(frames, "finding keypoints", total)]
        if not parts or not any(part.mask.any() for part in parts):
            raise NobodyFound("no person in any frame; pose=mini finds rendered people only")
        return PoseSequence.concatenate(*parts)

    @torch.no_grad()
    def _detect(self, net: KeypointNet, frame_HWC: np.ndarray) -> PoseSequence:
        shrinks = min(frame_HWC.shape[:2]) > SIDE
        image = cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        images_BCSS = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        xy_BK2, seen_BK = net(images_BCSS)
        confidence_BK = seen_BK.sigmoid().numpy()
        return PoseSequence(xy_BK2.numpy(), confidence_BK, confidence_BK >= self.visibility_threshold)

    def _file(self) -> Path:
        path = self.weights / "model.safetensors"
        if not path.exists():
            raise UserError(f"{path}: no such file; `python -m src.pretrain part=keypoints` trains it")
        return path


def _load(path: Path) -> KeypointNet:
    """The network of a folder, built from sizes that were checked and weights that fit them."""
    config = read_json(path.with_name("config.json"))
    channels = config.get("channels") if isinstance(config, dict) else None
    channels = channels if isinstance(channels, list) else []
    good = all(type(size) is int and 0 < size <= MAX_CHANNELS for size in channels)
    if not good or len(channels) != NUM_LEVELS:
        raise DamagedFile(f"{path.with_name('config.json')}: expected `channels`, {NUM_LEVELS} whole numbers")
    net = KeypointNet(tuple(channels))
    with in_one_line(path, "read"):
        try:
            with open_regular(path):
                net.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise explained(error, path, "read") or DamagedFile(f"{path} is not this network's: {error}") from error
    return net.float().eval()
