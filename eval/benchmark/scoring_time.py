"""How long scoring takes beside the networks' own forward passes.

Dimensions: F frames, H x W pixels, RGB uint8.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torchvision
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

import eval.networks.weights
from eval.metrics.registry import REGISTRY
from eval.metrics.spec import SIDES
from eval.networks.inception import pytorch_inception
from eval.networks.networks import Networks, choose_device
from eval.networks.weights import FILES, HUB, WeightStore
from eval.scoring.clips import ClipPaths, ScoredClip
from eval.scoring.features import ClipFeatures
from eval.scoring.protocol import Protocol
from eval.scoring.reading import read_clip
from eval.scoring.score import score
from eval.scoring.settings import ScoreSettings
from src.common.typed import check_range
from src.media.video import write_frames
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.extractors.base import PoseExtractor
from src.pose.extractors.settings import ExtractorSettings
from src.pose.formats import save_poses

# By what is timed, a metric that its network judges for.
JUDGED = {"lpips": "lpips", "inception": "fid", "clip": "clip-i", "i3d": "fvd", "poses": "mse-p-mini"}


@dataclass(frozen=True, kw_only=True)
class TimingSettings:
    """What is scored: `num_clips` rendered clips of `num_frames` frames at `resolution` squared."""

    num_clips: int
    num_frames: int
    resolution: int
    metrics: tuple[str, ...]
    device: str
    batch_size: int
    protocol: Protocol
    pose: ExtractorSettings

    def __post_init__(self) -> None:
        for name in ("num_clips", "num_frames", "resolution", "batch_size"):
            check_range(name, getattr(self, name), least=1)


def measure(settings: TimingSettings, extractor: PoseExtractor) -> dict[str, Any]:
    """Score rendered frames by all metrics, and time each network on the same frames by itself.

    The networks have their published architecture and random weights: the time does not depend on those. Poses are
    taken by the miniature detector, which ships here.

    Returns:
        Seconds of each network's forward passes, their sum, seconds of scoring from files, and the ratio: on a CPU
        those of the process, which other programs do not lengthen.
    """
    device, scoring = (
        choose_device(settings.device),
        ScoreSettings(metrics=settings.metrics, protocol=settings.protocol),
    )
    native = {"resolution": None, "resize": None}
    now = _clock(device)
    with tempfile.TemporaryDirectory() as scratch, _unchecked():
        folder = Path(scratch)
        random_weights(folder / "weights")
        store = WeightStore(folder / "weights", download=False)
        networks = Networks(store, extractor=extractor, device=device, batch_size=settings.batch_size)
        paths = [_clip(folder, number, settings) for number in range(settings.num_clips)]
        forward, apart = dict.fromkeys(JUDGED, 0.0), 0.0

        def clips() -> Iterator[ScoredClip]:
            """Each after the networks were timed on it: what else the machine does meets both alike."""
            nonlocal apart
            for number, path in enumerate(paths):
                begun = now()
                features = ClipFeatures(read_clip(path, **native), networks, settings.protocol)
                for name, seconds in _forward(features, warm=number == 0).items():
                    forward[name] += seconds
                del features
                apart += now() - begun
                yield read_clip(path, **native)

        started = now()
        missing = score(clips(), scoring, networks).missing
        total = now() - started - apart
    forward_sum = sum(forward.values())
    return {
        "frames": settings.num_clips * settings.num_frames,
        "resolution": settings.resolution,
        "device": str(device),
        "clock": "process" if device.type == "cpu" else "wall",
        "metrics": [name for name in settings.metrics if name not in missing],
        "missing": missing,
        "forward_seconds": {name: round(seconds, 3) for name, seconds in forward.items()}
        | {"sum": round(forward_sum, 3)},
        "scoring_seconds": round(total, 3),
        "ratio": round(total / forward_sum, 3),
    }


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds: of the process on a CPU, of the wall after all that was asked of a GPU."""
    if device.type == "cpu":
        return time.process_time

    def after_all() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return after_all


def random_weights(folder: Path) -> None:
    """Files of the published networks' names and architectures with seeded random weights."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inception = pytorch_inception(None)
        inception.fc = nn.Linear(2048, 1008)
        torch.save(inception.state_dict(), folder / FILES["inception-pytorch"].file)
        torch.save(InceptionI3d(400, in_channels=3).state_dict(), folder / FILES["i3d-pytorch"].file)
        torch.save(torchvision.models.alexnet(weights=None).state_dict(), folder / FILES["alex"].file)
        hub = HUB["openai/clip-vit-base-patch32"]
        model = CLIPModel(CLIPConfig())
        target = folder / hub.repo.split("/")[-1]
        model.save_pretrained(target)
        torch.save(model.state_dict(), target / hub.weights)
        CLIPImageProcessor().save_pretrained(target)


def _unchecked() -> mock._patch:
    """Random weights have no published checksum."""
    entries = {
        "FILES": {name: dataclasses.replace(entry, sha256=None) for name, entry in FILES.items()},
        "HUB": {name: dataclasses.replace(entry, sha256=None) for name, entry in HUB.items()},
    }
    return mock.patch.multiple(eval.networks.weights, **entries)


def _clip(folder: Path, number: int, settings: TimingSettings) -> ClipPaths:
    real, poses = render_clip(sample_identity(500 + number), "talk", settings.num_frames, settings.resolution, number)
    generated = (real.astype("uint16") + 7).clip(0, 255).astype("uint8")
    clip = folder / f"clip_{number}"
    write_frames(clip / "real", real)
    write_frames(clip / "generated", generated)
    save_poses(clip / "poses.npz", poses, fps=10)
    return ClipPaths(clip.name, clip / "generated", clip / "real", clip / "real" / "00000.png", clip / "poses.npz")


def _forward(features: ClipFeatures, *, warm: bool) -> dict[str, float]:
    """Seconds of the networks alone on frames that are decoded, and where a network takes them prepared, prepared."""
    networks, protocol = features.networks, features.protocol
    now = _clock(networks.device)
    judges = {name: REGISTRY[key].judge(networks, protocol) for name, key in JUDGED.items()}
    real = features.clip.real
    assert real is not None, "made with real frames"
    steps = {
        "lpips": lambda judge: [judge(x, y) for x, y in features.pairs()],
        "inception": lambda judge: [networks.batched(judge, features.frames(side)) for side in SIDES],
        "clip": lambda judge: networks.batched(judge, features.frames("generated")),
        "i3d": lambda judge: [
            ClipFeatures(features.clip, networks, protocol).per_window(judge, side) for side in SIDES
        ],
        "poses": lambda judge: [
            judge.extract(iter(frames), total=len(frames)) for frames in (features.clip.generated, real)
        ],
    }
    seconds = {}
    for name, step in steps.items():
        if warm:
            step(judges[name])
        started = now()
        step(judges[name])
        seconds[name] = now() - started
    return seconds
