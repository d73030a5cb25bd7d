"""Latent editing (Sec. 4.3, Eqs. 6 and 7): parts of the reference latent moved to where a pose has them.

Dimensions: M target poses, K keypoints, C channels, h×w latent cells. Coordinates are (x, y).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.pose.keypoints import PoseSequence
from src.sampling.parts import BONE_THICKNESS, Piece, pieces_of
from src.sampling.settings import Interpolation

MIN_KEYPOINTS = 3  # six unknowns, two equations a keypoint
MIN_CONDITION = 0.1  # of the linear part: its smaller by its larger singular value


@dataclass(frozen=True)
class Edit:
    """One part of one target frame: paste the reference latent, warped by `affine`, into `box`.

    Attributes:
        frame: target frame in [0, M).
        part: name of the piece of `src.sampling.parts`, the part itself for torso, face and hands.
        affine: (2, 3) float64, A of Eq. 6 in latent cells, from the reference to the target.
        box: (left, top, right, bottom) in whole cells, the right and lower ends excluded.
    """

    frame: int
    part: str
    affine: np.ndarray
    box: tuple[int, int, int, int]


def fit_affine(source_K2: np.ndarray, target_K2: np.ndarray) -> np.ndarray | None:
    """A = argmin_A Σ_v ‖A v − v_p‖² (Eq. 7), by linear least squares.

    Args:
        source_K2: landmarks v of the reference pose, K ≥ 3 for a unique solution.
        target_K2: the same landmarks in the target pose.

    Returns:
        (2, 3) float64 [[a, b, c], [d, e, f]] of Eq. 6; None where the landmarks do not determine it, or it mirrors
        or nearly flattens the plane.

    >>> triangle = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> fit_affine(triangle, 2 * triangle + [3, 4]).round(9) + 0.0
    array([[2., 0., 3.],
           [0., 2., 4.]])
    >>> fit_affine(triangle, triangle * [-1, 1]) is None
    True
    """
    if len(source_K2) < MIN_KEYPOINTS:
        return None
    centre = source_K2.mean(0, dtype=np.float64)
    homogeneous_K3 = np.concatenate([source_K2 - centre, np.ones((len(source_K2), 1))], 1)
    solution_32, _, rank, _ = np.linalg.lstsq(homogeneous_K3, target_K2.astype(np.float64), rcond=1e-6)
    linear, at_centre = solution_32[:2].T, solution_32[2]
    larger, smaller = np.linalg.svd(linear, compute_uv=False)
    if rank < 3 or np.linalg.det(linear) <= 0 or smaller < MIN_CONDITION * larger:
        return None
    return np.concatenate([linear, (at_centre - linear @ centre)[:, None]], 1)


def fit_similarity(source_K2: np.ndarray, target_K2: np.ndarray) -> np.ndarray | None:
    """The turn, scale and shift that minimise the sum of Eq. 7; two landmarks determine it.

    Args:
        source_K2: landmarks of the reference pose in latent cells.
        target_K2: the same landmarks in the target pose.

    Returns:
        (2, 3) float64, as of `fit_affine`; None with fewer than two landmarks, where those of either pose lie within
        one cell (a bone that points at the camera has no direction in the picture), or where the best scale is 0.

    >>> bone = np.array([[0.0, 0.0], [4.0, 0.0]])
    >>> fit_similarity(bone, np.array([[1.0, 1.0], [1.0, 9.0]])).round(9) + 0.0
    array([[ 0., -2.,  1.],
           [ 2.,  0.,  1.]])
    """
    if len(source_K2) < 2 or min(np.ptp(points, 0).max() for points in (source_K2, target_K2)) < 1:
        return None
    centre, to_centre = (points.mean(0, dtype=np.float64) for points in (source_K2, target_K2))
    # Points as complex numbers: a similarity is z -> factor z + shift.
    z, w = ((points - c) @ [1, 1j] for points, c in ((source_K2, centre), (target_K2, to_centre)))
    factor = np.vdot(z, w) / np.vdot(z, z).real
    if abs(factor) < 1e-6:
        return None
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([linear, (to_centre - linear @ centre)[:, None]], 1)


def bounding_box(points_K2: np.ndarray, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The smallest rectangle of whole latent cells that holds all points; None where it lies outside the latent.

    >>> bounding_box(np.array([[1.2, 2.0], [3.5, 2.9]]), 8, 8)
    (1, 2, 4, 3)
    """
    left, top = np.floor(points_K2.min(0)).astype(int).clip(0)
    right, bottom = np.maximum(np.ceil(points_K2.max(0)), np.floor(points_K2.min(0)) + 1).astype(int)
    box = (int(left), int(top), int(min(right, width)), int(min(bottom, height)))
    return box if box[0] < box[2] and box[1] < box[3] else None


def plan_edits(
    reference: PoseSequence, target: PoseSequence, parts: tuple[str, ...], width: int, height: int
) -> tuple[list[Edit], Counter]:
    """Maps and rectangles of every piece of every part of every target frame.

    Later pieces lie over earlier ones where their rectangles meet; `pieces_of` says in which order they come.

    Args:
        reference: the reference pose q_r (one frame).
        target: M target poses.
        parts: names from `EDITED_PARTS`.
        width, height: size of the latent in cells; normalised coordinates are multiplied by it.

    Returns:
        The edits, and how often each piece was skipped: too few keypoints seen in both poses (fewer than 3, of a bone
        than 2), a map that is close to singular or mirrored, or a rectangle outside the frame.
    """
    size = np.array([width, height], np.float64)
    pieces = pieces_of(parts)
    edits, skipped = [], Counter({piece.name: 0 for piece in pieces})
    for frame in range(len(target)):
        for piece in pieces:
            keypoints = list(piece.keypoints)
            seen = reference.mask[0, keypoints] & target.mask[frame, keypoints]
            source_K2 = reference.xy[0, keypoints][seen] * size
            target_K2 = target.xy[frame, keypoints][seen] * size
            edit = _plan_piece(piece, frame, source_K2, target_K2, width, height)
            if edit is None:
                skipped[piece.name] += 1
            else:
                edits.append(edit)
    return edits, skipped


def _plan_piece(
    piece: Piece, frame: int, source_K2: np.ndarray, target_K2: np.ndarray, width: int, height: int
) -> Edit | None:
    affine = (fit_similarity if piece.is_bone else fit_affine)(source_K2, target_K2)
    if affine is None:
        return None
    if piece.is_bone:
        # The rectangle around a disc at either joint.
        radius = BONE_THICKNESS / 2 * np.linalg.norm(target_K2[1] - target_K2[0])
        target_K2 = np.concatenate([target_K2 - radius, target_K2 + radius])
    box = bounding_box(target_K2, width, height)
    return None if box is None else Edit(frame, piece.name, affine, box)


def warp_latent(
    latent_Chw: Tensor, edit: Edit, *, interpolation: Interpolation = "bilinear", preserve_variance: bool = False
) -> Tensor:
    """The part of the latent, warped by A, that falls into the box of the edit (Eq. 6).

    Outside the frame the latent is continued by reflection, which keeps the statistics of noise.

    Args:
        latent_Chw: z_r.
        edit: affine map and box.
        interpolation: `bilinear` or `nearest`.
        preserve_variance: bilinear interpolation averages up to four cells, which lowers the variance of noise; divide
            by the root of the sum of the squared weights, exact where cells are independent (t = T).

    Returns:
        (C, bottom − top, right − left).
    """
    height, width = latent_Chw.shape[-2:]
    left, top, right, bottom = edit.box
    # Cell i covers [i, i + 1) and its value stands at i + 0.5.
    x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    inverse = np.linalg.inv(np.concatenate([edit.affine, [[0, 0, 1]]]))
    source = np.stack([x, y, np.ones_like(x)], -1) @ inverse[:2].T
    grid = torch.from_numpy(source / [width, height] * 2 - 1).to(latent_Chw)
    warped = F.grid_sample(
        latent_Chw[None], grid[None], mode=interpolation, padding_mode="reflection", align_corners=False
    )[0]
    if preserve_variance and interpolation == "bilinear":
        # Where the reflection takes it; within half a cell of the border a cell stands for itself alone.
        size = np.array([width, height])
        inside = (size - np.abs(source % (2 * size) - size) - 0.5).clip(0, size - 1)
        fraction = inside % 1
        power = (fraction**2 + (1 - fraction) ** 2).prod(-1)
        warped = warped / torch.from_numpy(np.sqrt(power)).to(warped)
    return warped


def apply_edits(
    latents_MChw: Tensor,
    reference_Chw: Tensor,
    edits: list[Edit],
    *,
    interpolation: Interpolation = "bilinear",
    preserve_variance: bool = False,
) -> Tensor:
    """Paste the warped reference latent into each target frame's latent; nothing outside the boxes changes."""
    edited = latents_MChw.clone()
    for edit in edits:
        left, top, right, bottom = edit.box
        edited[edit.frame, :, top:bottom, left:right] = warp_latent(
            reference_Chw, edit, interpolation=interpolation, preserve_variance=preserve_variance
        )
    return edited
