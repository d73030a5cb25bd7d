"""Where in the latents faces and hands are: what a viewer looks at, and a small part of the picture.

Dimensions: N frames, K keypoints, h×w latent cells.
"""

import numpy as np

from src.pose.keypoints import DETAILS, PARTS

FEWEST_KEYPOINTS = 3


def detail_rectangles(xy_NK2: np.ndarray, mask_NK: np.ndarray, part: str) -> np.ndarray:
    """Bounding rectangles (N, 4) of a part's seen keypoints as x0, y0, x1, y1 in units of the frame.

    Empty (zeros) where fewer than three are seen.
    """
    xy_NX2, seen_NX1 = xy_NK2[:, PARTS[part]], mask_NK[:, PARTS[part], None]
    low_N2 = np.where(seen_NX1, xy_NX2, np.inf).min(1)
    high_N2 = np.where(seen_NX1, xy_NX2, -np.inf).max(1)
    enough_N1 = seen_NX1.sum(1) >= FEWEST_KEYPOINTS
    return np.where(enough_N1, np.concatenate([low_N2, high_N2], 1), 0).astype(np.float32)


def detail_cells(xy_NK2: np.ndarray, mask_NK: np.ndarray, side: int) -> np.ndarray:
    """Which of side × side cells (N, h, w) touch the rectangle of a face or a hand."""
    cells_Nhw = np.zeros((len(xy_NK2), side, side), bool)
    number_X = np.arange(side)
    for part in DETAILS:
        rectangles_N4 = detail_rectangles(xy_NK2, mask_NK, part) * side
        x0_N1, y0_N1, x1_N1, y1_N1 = (column_N[:, None] for column_N in rectangles_N4.T)
        columns_Nw = (number_X + 1 > x0_N1) & (number_X < x1_N1)
        rows_Nh = (number_X + 1 > y0_N1) & (number_X < y1_N1)
        cells_Nhw |= rows_Nh[:, :, None] & columns_Nw[:, None]
    return cells_Nhw
