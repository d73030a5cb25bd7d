"""Motions of rendered people at 10 frames a second: gestures joined by smooth moves, speech, blinks, nods, dance steps.

Directions are (outwards, down, towards the viewer), see `src.people.body.MotionState`.
"""

import numpy as np

from src.people.body import MotionState, unit

FPS = 10

# Per arm: upper arm, forearm, palm towards fingers, normal of the palm.
_TALK_ARMS = (
    ((0.28, 0.95, 0.1), (0.05, 0.98, 0.2), (0.0, 1.0, 0.2), (-1.0, 0.0, 0.1)),  # hanging
    ((0.36, 0.9, 0.15), (0.1, -0.93, 0.3), (0.15, -1.0, 0.1), (-0.1, 0.1, 1.0)),  # raised, palm to the viewer
    ((0.42, 0.88, 0.1), (0.22, -0.85, 0.35), (0.3, -0.95, 0.1), (-0.2, 0.0, 1.0)),  # raised outwards
    ((0.36, 0.9, 0.2), (-0.25, -0.72, 0.62), (-0.1, -0.95, 0.3), (-0.35, -0.2, 0.9)),  # before the chest, up
    (
        (0.34, 0.92, 0.15),
        (-0.62, -0.4, 0.66),
        (-0.75, -0.55, 0.3),
        (0.2, 0.3, -0.9),
    ),  # before the chest, back of the hand
    ((0.34, 0.92, 0.1), (0.2, -0.45, 0.8), (0.5, -0.7, 0.35), (0.1, -0.75, 0.65)),  # offering, palm up
    ((0.3, 0.86, 0.4), (-0.3, -0.9, 0.3), (-0.1, -1.0, 0.1), (-0.6, 0.0, -0.8)),  # near the chin
    ((0.38, 0.9, 0.15), (0.0, -0.97, 0.2), (0.1, -1.0, 0.05), (-0.9, 0.1, 0.5)),  # raised, edge to the viewer
)
_DANCE_ARMS = (
    ((0.3, 0.95, 0.1), (0.2, 0.95, 0.25), (0.2, 0.97, 0.2), (-0.9, 0.0, 0.4)),
    ((0.95, 0.3, 0.1), (0.6, -0.8, 0.1), (0.5, -0.85, 0.1), (-0.1, 0.0, 1.0)),
    ((0.98, 0.05, 0.1), (0.98, -0.1, 0.1), (1.0, 0.0, 0.1), (0.0, 0.3, 1.0)),
    ((0.75, -0.65, 0.1), (0.3, -0.95, 0.1), (0.2, -1.0, 0.1), (-0.2, 0.0, 1.0)),
    ((0.6, 0.78, -0.15), (-0.62, 0.55, 0.4), (-0.5, 0.7, 0.3), (-0.3, 0.3, -0.9)),  # hand on the hip
    ((0.55, 0.8, 0.2), (-0.1, -0.85, 0.5), (-0.1, -0.95, 0.2), (-0.3, 0.0, 0.95)),
    ((0.85, 0.5, 0.15), (0.75, 0.6, 0.2), (0.9, 0.3, 0.2), (-0.1, 0.9, 0.45)),
    ((0.7, 0.7, 0.2), (-0.75, -0.3, 0.55), (-0.85, -0.3, 0.3), (0.1, 0.3, 0.9)),
)
_DANCE_LEGS = (
    ((0.12, 0.99, 0.06), (0.04, 1.0, -0.05)),
    ((0.3, 0.95, 0.08), (0.12, 0.99, -0.08)),
    ((0.42, 0.9, 0.2), (-0.1, 0.97, -0.2)),  # bent outwards
    ((0.3, 0.72, 0.62), (-0.05, 0.95, -0.3)),  # knee up
    ((0.55, 0.83, 0.05), (0.45, 0.89, -0.05)),  # side step
    ((0.1, 0.96, 0.25), (0.0, 0.93, -0.35)),
)
# Curl of thumb to little finger, and spread.
_FINGERS = (
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.8),  # open
    (0.15, 0.12, 0.1, 0.14, 0.18, 0.25),  # flat
    (0.25, 0.3, 0.34, 0.4, 0.44, 0.3),  # relaxed
    (0.75, 0.95, 1.0, 1.0, 1.0, 0.0),  # fist
    (0.7, 0.0, 0.95, 1.0, 1.0, 0.0),  # point
    (0.75, 0.0, 0.0, 0.98, 1.0, 0.7),  # V
    (0.0, 0.95, 1.0, 1.0, 1.0, 0.0),  # thumb up
    (0.6, 0.55, 0.08, 0.05, 0.05, 0.7),  # ring of thumb and index
    (0.75, 0.0, 0.0, 0.0, 0.98, 0.6),  # three
    (0.0, 0.0, 0.95, 1.0, 0.0, 0.3),  # thumb, index and little finger
)


def _ease(t: float) -> float:
    return t * t * (3 - 2 * t)


def _straight(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    return a + (b - a) * t


def _turn(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Spherical interpolation of unit vectors along the last axis: even speed, also between opposite ones."""
    angle = np.arccos(np.clip((a * b).sum(-1, keepdims=True), -0.999, 0.99999))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def _track(
    rng: np.random.Generator, frames: np.ndarray, hold: tuple[int, int], move: int, draw, between=_straight
) -> np.ndarray:
    """Values drawn by `draw()` at random times, held and joined by eased moves of `move` frames; (F, ...)."""
    start = -float(rng.integers(0, hold[1]))
    value, out = draw(), []
    following, change = draw(), start + rng.integers(*hold)
    for f in frames:
        while f >= change + move:
            value, following, change = following, draw(), change + move + rng.integers(*hold)
        out.append(between(value, following, _ease(min(max((f - change) / move, 0.0), 1.0))))
    return np.array(out)


def _sway(rng: np.random.Generator, frames: np.ndarray, amplitude: float, period: float) -> np.ndarray:
    """(F,) a slow wandering, the sum of two sines of random phase."""
    phase, rate = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.8, 1.25, 2)
    t = 2 * np.pi * frames / period
    return amplitude * (0.65 * np.sin(rate[0] * t + phase[0]) + 0.35 * np.sin(2.3 * rate[1] * t + phase[1]))


def _arm(rng: np.random.Generator, library: tuple, weights: np.ndarray, jitter: float) -> np.ndarray:
    arm = np.array(library[int(rng.choice(len(library), p=weights))])
    return unit(unit(arm) + jitter * rng.normal(size=(4, 3)) * np.array([1, 1, 0.6]))


def _fingers(rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.array(_FINGERS[int(rng.integers(len(_FINGERS)))]) + 0.05 * rng.normal(size=6), 0, 1)


def _head(rng: np.random.Generator) -> np.ndarray:
    yaw = rng.uniform(-0.62, 0.62) if rng.random() < 0.5 else rng.normal(0, 0.22)
    return np.array([yaw, rng.uniform(-0.2, 0.25), rng.normal(0, 0.1)])


def _mouth(rng: np.random.Generator) -> np.ndarray:
    """Opening, width and smile of one sound."""
    shapes = ((0.0, 0.0), (0.25, 0.5), (0.5, 0.1), (0.85, 0.0), (1.0, -0.3), (0.45, -0.9), (0.12, 0.8), (0.3, 0.0))
    opening, wide = shapes[int(rng.integers(len(shapes)))]
    return np.array([np.clip(opening + 0.08 * rng.normal(), 0, 1), np.clip(wide + 0.1 * rng.normal(), -1, 1)])


def _blinks(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """(F,) closure of the eyes: 0.3 s long, every 1.5 to 4 s."""
    closure = np.zeros(len(frames))
    at = -float(rng.integers(0, 20))
    while at < frames[-1] + 3:
        closure = np.maximum(closure, np.clip(1.35 - np.abs(frames - at) * 0.75, 0, 1))
        at += rng.integers(15, 40)
    return closure


def sample_motion(kind: str, num_frames: int, seed: int) -> list[MotionState]:
    """A smooth motion of `num_frames` at 10 frames a second, free of any identity.

    Args:
        kind: "talk" (half body) or "dance" (whole body).
        num_frames: length, at least 1.
        seed: the same seed always gives the same motion, and a longer one starts like a shorter one.
    """
    return _motion(kind, np.arange(num_frames, dtype=float), np.random.SeedSequence([seed, 7002]))


def sample_state(kind: str, rng: np.random.Generator) -> MotionState:
    """One moment, drawn more widely than any clip moves: for pre-training."""
    seeds = np.random.SeedSequence(int(rng.integers(2**63)))
    state = _motion(kind, np.array([0.0, rng.uniform(0, 25)]), seeds)[1]
    shift = np.array([rng.uniform(-0.05, 0.05), rng.uniform(-0.03, 0.03), rng.uniform(0.92, 1.08)])
    if kind == "dance":
        shift[1] *= 0.6
    blink = 1.0 if rng.random() < 0.06 else state.face[0]
    face = np.concatenate([[blink, blink], state.face[2:]])
    return MotionState(
        kind, state.root * np.array([1, 1, 0]) + shift, state.torso, state.head + rng.normal(0, 0.05, 3), state.hips,
        state.arms, state.legs, state.hands, state.fingers, face,
    )  # fmt: skip


def _motion(kind: str, frames: np.ndarray, seeds: np.random.SeedSequence) -> list[MotionState]:
    # One generator for each track, so that the length of one does not shift the others.
    rngs = [np.random.default_rng(s) for s in seeds.spawn(16)]
    dance = kind == "dance"
    library = _DANCE_ARMS if dance else _TALK_ARMS
    weights = np.ones(len(library))
    weights[0] = 1.2 if dance else 0.5
    weights /= weights.sum()
    hold, move = ((0, 3), 6) if dance else ((3, 12), 8)
    arms = [
        _track(rngs[i], frames, hold, move, lambda i=i: _arm(rngs[i], library, weights, 0.1), _turn) for i in (0, 1)
    ]
    # In dance both arms often mirror one another.
    if dance and rngs[2].random() < 0.35:
        arms[1] = arms[0]
    arms = np.stack(arms, 1)
    wave = np.stack([np.stack([_sway(rngs[3], frames, 0.07, 9.0) for _ in range(3)], -1) for _ in range(2)], 1)
    arms = unit(arms + wave[:, :, None] * np.array([0.4, 1.0, 1.4, 0.6])[:, None])
    fingers = np.stack([_track(rngs[4 + i], frames, (4, 12), 4, lambda i=i: _fingers(rngs[4 + i])) for i in (0, 1)], 1)
    head = _track(rngs[6], frames, (2, 10), 6, lambda: _head(rngs[6])) * (0.8 if dance else 1.0)
    head = head + np.stack([_sway(rngs[7], frames, a, 14.0) for a in (0.08, 0.06, 0.05)], -1)
    face = _faces(rngs[8:11], frames, dance)
    root, torso, hips, legs = _stances(rngs[11:14], frames, dance)
    # The head follows part of the turn of the body.
    head = head + 0.5 * torso
    return [
        MotionState(
            kind, root[f], torso[f], head[f], hips[f], arms[f, :, :2], legs[f], arms[f, :, 2:], fingers[f], face[f]
        )
        for f in range(len(frames))
    ]


def _leg(rng: np.random.Generator) -> np.ndarray:
    leg = np.array(_DANCE_LEGS[int(rng.integers(len(_DANCE_LEGS)))])
    return unit(unit(leg) + 0.05 * rng.normal(size=(2, 3)))


def _faces(rngs: list[np.random.Generator], frames: np.ndarray, dance: bool) -> np.ndarray:
    """(F, 8) as `MotionState.face`."""
    mouth = _track(rngs[0], frames, (0, 2), 2, lambda: _mouth(rngs[0]))
    mood = _track(rngs[1], frames, (10, 25), 6, lambda: rngs[1].uniform(-1, 1, 4))
    if dance:
        mouth = mouth * 0.5
        mood[:, 0] = 0.2 + 0.8 * mood[:, 0]
    blink = _blinks(rngs[2], frames)[:, None]
    smile, brow_gaze = 0.5 + 0.5 * mood[:, :1], np.array([0.8, 0.7, 0.4]) * mood[:, 1:]
    return np.concatenate([blink, blink, mouth, smile, brow_gaze], -1)


def _stances(rngs: list[np.random.Generator], frames: np.ndarray, dance: bool) -> tuple[np.ndarray, ...]:
    """Root (F, 3), torso (F, 3), hips (F, 2) and legs (F, 2, 2, 3), as in `MotionState`."""
    rng, still = rngs[0], np.zeros(len(frames))
    if dance:
        legs = [_track(r, frames, (0, 3), 5, lambda r=r: _leg(r), _turn) for r in rngs[1:3]]
        beat = np.pi * frames / 5 + rng.uniform(0, 6) / 2
        root = np.stack([_sway(rng, frames, 0.06, 34.0), still, still + 1], -1)
        hips = np.stack([0.09 * np.sin(beat), 0.1 * np.sin(beat)], -1)
        torso = np.stack([_sway(rng, frames, a, t) for a, t in ((0.4, 26.0), (0.06, 13.0), (0.13, 12.0))], -1)
        return root, torso, hips, unit(np.stack(legs, 1))
    legs = np.broadcast_to(np.array([0.08, 1.0, 0.02]), (len(frames), 2, 2, 3))
    root = np.stack([_sway(rng, frames, 0.022, 50.0), _sway(rng, frames, 0.008, 16.0), still + 1], -1)
    torso = np.stack([_sway(rng, frames, a, t) for a, t in ((0.2, 40.0), (0.05, 30.0), (0.055, 32.0))], -1)
    return root, torso, np.stack([still, still], -1), legs
