"""The benchmark `people`: twelve rendered subjects whose true poses are known."""

from fractions import Fraction

from src.data.subject import Subject
from src.people.identity import describe, sample_identity
from src.people.motion import FPS
from src.people.render import render_clip

NUM_AVAILABLE, NUM_TEST = 32, 24
# The seed of a subject's identity and motion; pre-training must stay away from these.
SEEDS: dict[str, int] = {f"people_{seed:03d}": seed for seed in range(1, 13)}


def kind_of(name: str) -> str:
    """`talk` for people_001 to people_006, `dance` for people_007 to people_012."""
    return "talk" if SEEDS[name] <= 6 else "dance"


def people_subject(name: str, *, resolution: int) -> Subject:
    """Render a subject of the benchmark: 32 frames to train on and 24 held out, with exact poses.

    Args:
        name: a key of `SEEDS`.
        resolution: S, side of the frames in pixels.

    Example:
        >>> subject = people_subject("people_001", resolution=32)
        >>> subject.frames.shape, len(subject.poses)
        ((56, 32, 32, 3), 56)
    """
    seed, kind = SEEDS[name], kind_of(name)
    identity = sample_identity(seed)
    frames, poses = render_clip(identity, kind, NUM_AVAILABLE + NUM_TEST, resolution, seed)
    provenance = {"source": {"name": name, "rendered": kind, "seed": seed}, "settings": {"resolution": resolution}}
    return Subject(name, frames, poses, Fraction(FPS), describe(identity), provenance)
