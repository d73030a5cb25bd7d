"""`python -m eval.bench`: how long scoring takes beside the networks' own forward passes."""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch
import torchvision
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

import eval.networks.weights
from eval.networks.feature_networks import pytorch_inception
from eval.networks.weights import FILES, HUB, WeightStore
from eval.scoring.clips import ClipPaths, read_clip
from eval.scoring.features import ClipView, Toolbox
from eval.scoring.protocol import Protocol
from eval.scoring.scorer import Scorer, choose_device
from src.app.entry import entry
from src.media.video import write_frames
from src.people.render import render_clip, sample_identity
from src.pose.formats import save_poses

FEATURES = ("lpips", "inception", "clip", "i3d", "poses")


def measure(cfg: DictConfig) -> dict:
    """Score rendered frames by all metrics, and time each network on the same frames by itself.

    The networks have their published architecture and random weights: the time does not depend on those. Poses are
    taken by the miniature detector, which ships here.

    Returns:
        Seconds of each network's forward passes, their sum, seconds of scoring from files, and the ratio.
    """
    protocol = Protocol.from_config(cfg.protocol)
    device = choose_device(cfg.device)
    with tempfile.TemporaryDirectory() as scratch, _unchecked():
        folder = Path(scratch)
        random_weights(folder / "weights")
        tools = Toolbox(
            protocol,
            WeightStore(folder / "weights", download=False),
            instantiate(cfg.pose),
            device=device,
            batch_size=cfg.batch_size,
        )
        paths = [_clip(folder, number, cfg) for number in range(cfg.num_clips)]
        forward = dict.fromkeys(FEATURES, 0.0)
        for number, path in enumerate(paths):
            clip = read_clip(path, resolution=None, resize=None)
            for name, seconds in _forward(ClipView(clip, tools), warm=number == 0).items():
                forward[name] += seconds
        started = time.perf_counter()
        scorer = Scorer(list(cfg.metrics), tools, real=True, reference=True)
        for path in paths:
            scorer.add(read_clip(path, resolution=None, resize=None))
        missing = scorer.result()["missing"]
        total = time.perf_counter() - started
    forward_sum = sum(forward.values())
    return {
        "frames": cfg.num_clips * cfg.num_frames,
        "resolution": cfg.resolution,
        "device": str(device),
        "metrics": [name for name in cfg.metrics if name not in missing],
        "missing": missing,
        "forward_seconds": {name: round(seconds, 3) for name, seconds in forward.items()}
        | {"sum": round(forward_sum, 3)},
        "scoring_seconds": round(total, 3),
        "ratio": round(total / forward_sum, 3),
    }


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


def _clip(folder: Path, number: int, cfg: DictConfig) -> ClipPaths:
    real, poses = render_clip(sample_identity(500 + number), "talk", cfg.num_frames, cfg.resolution, number)
    generated = (real.astype("uint16") + 7).clip(0, 255).astype("uint8")
    clip = folder / f"clip_{number}"
    write_frames(clip / "real", real)
    write_frames(clip / "generated", generated)
    save_poses(clip / "poses.npz", poses, fps=10)
    return ClipPaths(clip.name, clip / "generated", clip / "real", clip / "real" / "00000.png", clip / "poses.npz")


def _forward(view: ClipView, *, warm: bool) -> dict[str, float]:
    """Seconds of the networks alone on frames that are decoded, and where a network takes them prepared, prepared."""
    tools, both = view.tools, ("generated", "real")
    steps = {
        "lpips": lambda: [tools.lpips(x, y) for x, y in view.pairs()],
        "inception": lambda: [tools.batched(tools.inception, view.frames(side)) for side in both],
        "clip": lambda: tools.batched(tools.clip, view.frames("generated")),
        "i3d": lambda: [view._i3d(side) for side in both],
        "poses": lambda: [
            tools.extractor_mini.extract(iter(frames), total=len(frames))
            for frames in (view.clip.generated, view.clip.real)
        ],
    }
    seconds = {}
    for name, step in steps.items():
        if warm:
            step()
        started = time.perf_counter()
        step()
        if tools.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[name] = time.perf_counter() - started
    return seconds


@entry("score_bench")
def main(cfg: DictConfig) -> None:
    """Print the figures as JSON."""
    sys.stdout.write(json.dumps(measure(cfg), indent=2) + "\n")


if __name__ == "__main__":
    main()
