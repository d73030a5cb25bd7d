"""Scoring from Python: arrays, paths or a loader in, the JSON object of a result out; no configuration.

    from eval import score

    result = score("generated/", "real/", metrics=["ssim", "fvd"])
    result["metrics"]["ssim"]["value"]

Dimensions: F frames, H x W pixels, C = 3 channels in RGB order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from eval.networks.networks import Networks
from eval.networks.settings import NetworkSettings
from eval.scoring import score as engine
from eval.scoring.clip_store import ClipStore
from eval.scoring.clips import ClipPaths, Pairing, ScoredClip, files_of, find_clips
from eval.scoring.images import read_image, to_8_bits
from eval.scoring.protocol import Protocol, shipped_protocol
from eval.scoring.reading import read_clip, resize_frames
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.common.progress import track
from src.common.reading import read_yaml
from src.common.typed import typed
from src.pose.extractors.base import PoseExtractor
from src.pose.extractors.settings import ExtractorSettings

Frames: TypeAlias = "np.ndarray | Tensor"
Places: TypeAlias = "str | Path | Sequence[str | Path]"
Loader: TypeAlias = "Iterable[ScoredClip | tuple[Any, ...]]"


def score(
    generated: "Places | Frames | Mapping[str, Frames] | Loader",
    real: "Places | Frames | Mapping[str, Frames] | None" = None,
    *,
    reference: "str | Path | Frames | None" = None,
    poses: str | Path | None = None,
    metrics: str | Sequence[str] = "paper",
    protocol: str | Protocol = "paper",
    extractor: PoseExtractor | None = None,
    pairing: Pairing = "name",
    weights: str | Path | None = None,
    download: bool = True,
    device: str = "auto",
    batch_size: int = 16,
    resume: str | Path | None = None,
) -> dict[str, Any]:
    """Score generated clips against the true ones; what `posecrafter score` computes.

    Args:
        generated: paths as on the command line (see `eval.scoring.clips.find_clips`); or one clip, (F, H, W, 3) or, of
            a tensor, (F, 3, H, W), uint8 or floating point in [0, 1]; or such clips by name; or a loader, which yields
            (name, generated), (name, generated, real), (name, generated, real, reference) or `ScoredClip`, one at a
            time.
        real: the same kind; None: there is none, or the loader yields it.
        reference: an image (H, W, 3) for all clips, or with paths also a folder; with a loader None.
        poses: with paths, keypoints of the real frames.
        metrics: keys and names of sets of `eval.metrics.registry`.
        protocol: a name in `conf/protocol`, or one of your own.
        extractor: of MSE-P; None: the one that the protocol names, as it ships.
        pairing, weights, download, device, batch_size: as of `eval.score`.
        resume: folder that keeps what each metric made of each clip; the same call goes on from there.

    Returns:
        The JSON object that `eval/scoring/result.schema.json` describes.

    Raises:
        UserError: clips that do not pair, are no frames, or differ in number or size; unknown names.
    """
    if isinstance(protocol, str):
        protocol = shipped_protocol(protocol)
    where = None if weights is None else Path(weights)
    networks = NetworkSettings(weights=where, download=download, device=device, batch_size=batch_size).open(
        extractor or _shipped(protocol)
    )
    names = metrics if isinstance(metrics, str) else tuple(metrics)
    settings = engine.ScoreSettings(metrics=names, protocol=protocol)
    done = None if resume is None else Path(resume)
    if _is_places(generated):
        at = [None if side is None else _places(side) for side in (generated, real)]
        image = None if reference is None else _place(reference, "reference")
        clips = find_clips(at[0] or (), at[1], image, None if poses is None else Path(poses), pairing=pairing)
        return score_paths(clips, settings, networks, resume=done)
    if poses is not None:
        raise UserError("poses= goes with paths: with arrays yield eval.scoring.clips.ScoredClip with its poses")
    clips = (_resized(clip, protocol) for clip in _clips(generated, real, reference))
    found = engine.score(clips, settings, networks, done=None if done is None else ClipStore(done))
    return found.as_dict() | {"files": {}}


def score_paths(
    clips: Sequence[ClipPaths], settings: "engine.ScoreSettings", networks: Networks, *, resume: Path | None
) -> dict[str, Any]:
    """Read and score clips from files under a progress bar; the JSON object of a result.

    Args:
        resume: folder of a `ClipStore`; None: nothing is kept.
    """
    how = {"resolution": settings.protocol.resolution, "resize": settings.protocol.resize}
    read = (read_clip(paths, **how) for paths in track(clips, "Scoring"))
    found = engine.score(read, settings, networks, done=None if resume is None else ClipStore(resume))
    return found.as_dict() | {"files": files_of(clips)}


def _shipped(protocol: Protocol) -> PoseExtractor:
    """The extractor that a protocol names, with the settings that ship."""
    settings: Any = typed(ExtractorSettings, read_yaml(CONF_DIR / "pose" / f"{protocol.mse_p.extractor}.yaml"), "pose")  # type: ignore[arg-type]
    return settings.build()


def _is_places(value: Any) -> bool:
    return isinstance(value, (str, Path)) or (
        isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(item, (str, Path)) for item in value)
    )


def _places(value: Any) -> Path | list[Path]:
    if not _is_places(value):
        raise UserError(f"generated is a path, so real must be one too, or a list of such; got {type(value).__name__}")
    return Path(value) if isinstance(value, (str, Path)) else [Path(item) for item in value]


def _place(value: Any, name: str) -> Path:
    if not isinstance(value, (str, Path)):
        raise UserError(f"generated is a path, so {name} must be one too; got {type(value).__name__}")
    return Path(value)


def _clips(generated: Any, real: Any, reference: Any) -> Iterator[ScoredClip]:
    """The clips that arrays, arrays by name, or a loader give."""
    if isinstance(generated, (np.ndarray, Tensor)):
        generated, real = {"clip": generated}, None if real is None else {"clip": real}
    if isinstance(generated, Mapping):
        if real is not None and (not isinstance(real, Mapping) or set(real) != set(generated)):
            raise UserError("generated clips are given by name, so real ones must have the same names")
        for name, frames in generated.items():
            yield _clip(name, frames, None if real is None else real[name], reference)
        return
    if real is not None or reference is not None:
        raise UserError("a loader yields (name, generated, real, reference): leave real= and reference= out")
    for item in generated:
        if isinstance(item, ScoredClip):
            checked = _clip(item.name, item.generated, item.real, item.reference)
            yield replace(checked, warnings=item.warnings, poses=item.poses)
        elif isinstance(item, (tuple, list)) and 2 <= len(item) <= 4:
            yield _clip(*item)
        else:
            raise UserError(
                f"a loader must yield (name, generated), (name, generated, real), (name, generated, real, reference) "
                f"or ScoredClip; got {type(item).__name__}"
            )


def _clip(name: Any, generated: Any, real: Any = None, reference: Any = None) -> ScoredClip:
    if not isinstance(name, (str, int, Path)):
        # Of (generated, real) the truth would be scored.
        raise UserError(
            f"a clip's name must be a text or a number, got {type(name).__name__}: a loader yields (name, generated, "
            "real)"
        )
    name = str(name)
    mine = frames_of(generated, f"generated frames of {name}")
    true = None if real is None else frames_of(real, f"real frames of {name}")
    if isinstance(reference, (str, Path)):
        reference = read_image(Path(reference))
    if reference is not None and not isinstance(reference, (np.ndarray, Tensor)):
        raise UserError(f"reference image of {name} must be (H, W, 3) or a path, got {type(reference).__name__}")
    image = None if reference is None else frames_of(reference[None], f"reference image of {name}")[0]
    return ScoredClip(name, mine, true, image)


def _resized(clip: ScoredClip, protocol: Protocol) -> ScoredClip:
    if protocol.resolution is not None and protocol.resize is not None:
        size = (protocol.resolution, protocol.resize)
        real = None if clip.real is None else resize_frames(clip.real, *size)
        clip = replace(clip, generated=resize_frames(clip.generated, *size), real=real)
    if clip.real is not None and clip.real.shape != clip.generated.shape:
        mine, true = clip.generated.shape, clip.real.shape
        raise UserError(f"clip {clip.name}: generated frames of shape {mine} against real ones of {true}")
    return clip


def frames_of(value: Any, name: str) -> np.ndarray:
    """(F, H, W, 3) uint8 of an array, or of a tensor (F, 3, H, W) too.

    Args:
        name: in messages.

    Raises:
        UserError: another shape, or samples that are neither 8 or 16 bits nor floating point in [0, 1].
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta:
            raise UserError(f"{name} must be a dense tensor with values, got {value.layout} on {value.device}")
        value = value.detach().cpu()
        if value.ndim == 4 and value.shape[1] == 3 and value.shape[3] != 3:
            value = value.permute(0, 2, 3, 1)
        # Some of fewer bits numpy has no type for.
        value = (value.float() if value.is_floating_point() and value.itemsize < 4 else value).numpy()
    if not isinstance(value, np.ndarray) or value.ndim != 4 or value.shape[3] != 3 or 0 in value.shape:
        shape = getattr(value, "shape", type(value).__name__)
        raise UserError(f"{name} must be (F, H, W, 3), or of a tensor (F, 3, H, W); got {shape}")
    return np.ascontiguousarray(to_8_bits(value, name))
