"""One person's motion on another person's body.

The paper names as its limitation that the proportions of the driver carry over (Sec. 5.3). Here directions come from
the driver and lengths from the subject. A picture holds no depth, so a bone that the driver foreshortens to some
fraction of its length is foreshortened to the same fraction: its length in the picture is multiplied by the ratio of
the two persons' lengths.

Dimensions: F frames, K = 128 keypoints, P = 73 head points. Coordinates in one unit along both axes, of a square frame
its side.
"""

import logging
from typing import Literal, get_args

import numpy as np

from src.common.errors import UserError
from src.common.typed import check_choice
from src.pose.edit import HANDS, NECK, arm, leg
from src.pose.head import HEAD, HeadPose
from src.pose.keypoints import PoseSequence
from src.pose.proportions import BONES, MID_HIP, SIDES, Proportions, fit_heads, fit_proportions, joints

log = logging.getLogger(__name__)

RetargetMode = Literal["none", "scale", "bones"]
MODES: tuple[RetargetMode, ...] = get_args(RetargetMode)
# What tells the sizes of two persons apart, whatever else differs.
_SIZE_BONES = ("shoulder", "upper_arm", "forearm", "torso", "thigh", "shank", "head")


def retarget(
    driver: PoseSequence, training: PoseSequence, mode: RetargetMode, *, frame_size: tuple[float, float] = (1.0, 1.0)
) -> PoseSequence:
    """Fit the driver's poses to the subject.

    Args:
        driver: F poses of anyone.
        training: poses of the subject, as many as there are.
        mode: `none`: as they are; `scale`: one scale and shift of the whole picture; `bones`: directions of bones
            from the driver, lengths from the subject (body, hands), and expressions as offsets from the neutral face.
        frame_size: width and height of the frame in the unit of the poses.

    Returns:
        F poses; with `scale` and `bones`, points that come to lie outside the frame are unseen, as in extracted poses.

    Raises:
        UserError: another mode, or either person's neck is never seen.
    """
    check_choice("retarget", mode, MODES)
    if mode == "none":
        return driver
    heads = fit_heads(driver)
    theirs = fit_proportions(driver, heads, whose="driver")
    own = fit_proportions(training, fit_heads(training), whose="subject")
    ratios = _ratios(own, theirs)
    log.info(
        "retarget=%s: %s of the subject's over the driver's lengths",
        mode,
        ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()),
    )
    xy, mask = joints(driver.xy, driver.mask)
    moved = np.zeros_like(xy)
    for f in range(len(driver)):
        if mode == "scale" or not mask[f, NECK]:
            moved[f] = _similar(xy[f], own, theirs, ratios["size"])
        else:
            moved[f] = _one_frame(xy[f], mask[f], heads[f], own, theirs, ratios)
            moved[f] += _anchor(xy[f], moved[f], mask[f], own, theirs, ratios["size"])
    moved = moved[:, :-1]
    inside = ((moved >= 0) & (moved < frame_size)).all(-1)
    return PoseSequence(moved, driver.confidence, driver.mask & inside)


def extent(size: tuple[int, int] | None) -> tuple[float, float]:
    """Width and height of a frame of (height, width) in units of its shorter side; None: of a square one."""
    height, width = size or (1, 1)
    return width / min(height, width), height / min(height, width)


def in_one_unit(poses: PoseSequence, size: tuple[int, int] | None, *, back: bool = False) -> PoseSequence:
    """Poses in units of the shorter side of the frame along both axes, or back in units of the frame."""
    if size is None or size[0] == size[1]:
        return poses
    x, y = extent(size)
    return poses.transformed((1 / x, 1 / y) if back else (x, y), (0, 0))


def _ratios(own: Proportions, theirs: Proportions) -> dict[str, float]:
    """Subject over driver, of every length; those not seen in both have the ratio of size, hands that of heads."""
    known = {name: own.lengths[name] / length for name, length in theirs.lengths.items() if name in own.lengths}
    sizes = [known[name] for name in _SIZE_BONES if name in known]
    if not sizes:
        raise UserError("no bone is seen in both the driver's and the subject's poses: set retarget=none")
    size = float(np.median(sizes))
    head = known.get("head", size)
    fallback = {name: size for name in BONES} | {"head": head, "head_height": head, "hand": head}
    return {"size": size} | fallback | known


def _similar(xy: np.ndarray, own: Proportions, theirs: Proportions, size: float) -> np.ndarray:
    """Points scaled about the driver's place, which moves to the subject's: feet to feet if both stand, else neck to
    neck.

    The places are medians of persons who wander, and the subject's of a few frames at that. As far as they differ
    less than either wanders, the difference says nothing, and the driver's place is kept.
    """
    here, there = own.neck, theirs.neck
    if own.footing is not None and theirs.footing is not None:
        here, there = own.footing, theirs.footing
    shift = here.middle - there.middle
    noise = np.square(here.spread) + np.square(there.spread)
    shift = shift * np.square(shift) / np.maximum(np.square(shift) + noise, np.finfo(float).tiny)
    return there.middle + shift + size * (xy - there.middle)


def _anchor(
    xy: np.ndarray, moved: np.ndarray, mask: np.ndarray, own: Proportions, theirs: Proportions, size: float
) -> np.ndarray:
    """(2,) shift that puts a retargeted pose where it belongs: on the ground if both stand, else by the neck."""
    target = _similar(xy, own, theirs, size)
    ankles = [leg(side)[2] for side in SIDES]
    if own.footing is not None and theirs.footing is not None and mask[ankles].all() and mask[MID_HIP]:
        return np.array([target[MID_HIP, 0] - moved[MID_HIP, 0], target[ankles, 1].max() - moved[ankles, 1].max()])
    return target[NECK] - moved[NECK]


def _one_frame(
    xy: np.ndarray,
    mask: np.ndarray,
    head: HeadPose | None,
    own: Proportions,
    theirs: Proportions,
    ratios: dict[str, float],
) -> np.ndarray:
    """A pose on the subject's bones, with the neck where the driver's is: (K + 1, 2)."""
    # What hangs on nothing seen keeps its place relative to the neck.
    out = xy[NECK] + ratios["size"] * (xy - xy[NECK])
    placed = {NECK}
    for name, pairs in BONES.items():
        for parent, child in pairs:
            if mask[parent] and mask[child] and parent in placed:
                out[child] = out[parent] + ratios[name] * (xy[child] - xy[parent])
                placed.add(child)
    for side in SIDES:
        hand, wrist = HANDS[side], arm(side)[2]
        root = wrist if mask[wrist] else hand.start
        out[hand] = out[root] + ratios["hand"] * (xy[hand] - xy[root])
    if head is not None:
        offset = out[NECK] + ratios["head_height"] * (head.offset - xy[NECK])
        moved_head = HeadPose(head.rotation, head.scale * ratios["head"], offset)
        expression = head.unproject(xy[HEAD]) - theirs.neutral_P3
        out[HEAD] = moved_head.project(own.neutral_P3 + expression)
    return out
