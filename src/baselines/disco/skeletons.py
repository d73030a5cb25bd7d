"""Skeletons as DisCo was trained to follow them.

Dimensions: F frames of S x S pixels, RGB uint8; K keypoints.
"""

import cv2
import numpy as np

from src.pose.keypoints import PARTS, PoseSequence

# OpenPose's 17 limbs as pairs of body keypoints, and its colours: of limb i, and of keypoint i.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
    *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
COLORS = tuple(
    tuple(int(c) for c in cv2.cvtColor(np.array([[[hue, 255, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0])
    for hue in range(0, 180, 10)
)
WIDTH = 4  # of dots and limbs in pixels, whatever the size of the frame
OPACITY = 0.6  # of limbs, over what was drawn before


def draw_skeletons(poses: PoseSequence, size: int) -> np.ndarray:
    """Draw the body as OpenPose does, without face and hands: what DisCo was trained to follow.

    Dots lie below the limbs and no width scales with the frame, both unlike `src.pose.draw`.

    Args:
        size: S.

    Returns:
        (F, S, S, 3) uint8 RGB.
    """
    drawings = np.zeros((len(poses), size, size, 3), np.uint8)
    for drawing, xy_K2, seen_K in zip(drawings, poses.xy[:, PARTS["body"]], poses.mask[:, PARTS["body"]], strict=True):
        # Cut to whole pixels where something is drawn, and not before, as OpenPose's code does.
        pixels_K2 = xy_K2.astype(np.float64) * size
        for (x, y), seen, color in zip(pixels_K2, seen_K, COLORS, strict=True):
            if seen:
                cv2.circle(drawing, (int(x), int(y)), WIDTH, color, thickness=-1)
        for (a, b), color in zip(LIMBS, COLORS, strict=False):
            if seen_K[a] and seen_K[b]:
                layer = drawing.copy()
                cv2.fillConvexPoly(layer, _limb(pixels_K2[a], pixels_K2[b]), color)
                cv2.addWeighted(drawing, 1 - OPACITY, layer, OPACITY, 0, dst=drawing)
    return drawings


def _limb(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The polygon of an ellipse from one joint to the other, 2 x WIDTH pixels thick."""
    centre, (dx, dy) = (start + end) / 2, end - start
    half, angle = int(np.hypot(dx, dy) / 2), int(np.degrees(np.arctan2(dy, dx)))
    return np.asarray(cv2.ellipse2Poly((int(centre[0]), int(centre[1])), (half, WIDTH), angle, 0, 360, 1))
