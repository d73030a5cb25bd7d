"""Parts of latent editing, and the pieces that each is warped in.

The paper edits face and hands (Sec. 4.3) and expects other parts to work. A limb bends, so one map cannot carry it:
`arms` and `legs` are warped bone by bone. Two joints do not determine the affine map of Eq. 6; a bone is carried by a
similarity (turn, scale, shift), which cannot shear it. The rectangle that two joints bound has no width; that of a bone
reaches half its thickness farther.
"""

from dataclasses import dataclass

from src.pose.edit import arm, leg
from src.pose.keypoints import DETAILS, NUM_KEYPOINTS, PARTS

# Circumference over 3.14 and length of adult limbs: upper arm 0.30 of its length, forearm 0.33, thigh 0.43, shank 0.30;
# a little more for clothes. A fraction of the length in the picture holds at every distance from the camera.
BONE_THICKNESS = 0.4


@dataclass(frozen=True)
class Piece:
    """What is warped by one map.

    Attributes:
        name: of the piece; a part that is one piece has its name.
        keypoints: indices of its landmarks.
        is_bone: two joints, carried by a similarity; else an affine map.
    """

    name: str
    keypoints: tuple[int, ...]
    is_bone: bool


def _whole(part: str) -> tuple[Piece, ...]:
    return (Piece(part, tuple(range(NUM_KEYPOINTS)[PARTS[part]]), False),)


def _bones(upper: str, lower: str, joints_of_side: dict[str, tuple[int, int, int]]) -> tuple[Piece, ...]:
    return tuple(
        Piece(f"{side}_{name}", ends, True)
        for side, (root, middle, end) in joints_of_side.items()
        for name, ends in ((upper, (root, middle)), (lower, (middle, end)))
    )


_SIDES = ("left", "right")
# Large parts come first, what lies in front of them later, face and hands last.
EDITED_PARTS: dict[str, tuple[Piece, ...]] = {
    "torso": (Piece("torso", tuple(joint(side)[0] for joint in (arm, leg) for side in _SIDES), False),),
    "legs": _bones("thigh", "shank", {side: leg(side) for side in _SIDES}),
    "arms": _bones("upper_arm", "forearm", {side: arm(side) for side in _SIDES}),
    **{part: _whole(part) for part in DETAILS},
}


def pieces_of(parts: tuple[str, ...]) -> list[Piece]:
    """Pieces of the parts in the order in which they are pasted: torso, legs, arms, then face and hands as given.

    >>> [piece.name for piece in pieces_of(("right_hand", "face", "torso"))]
    ['torso', 'right_hand', 'face']
    """
    order = {part: i for i, part in enumerate(EDITED_PARTS) if part not in DETAILS}
    ordered = sorted(parts, key=lambda part: order.get(part, len(order)))
    return [piece for part in ordered for piece in EDITED_PARTS[part]]
