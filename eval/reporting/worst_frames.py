"""The frames of a video whose face and hands are farthest from the true ones, cut out for the page.

Dimensions: F true frames of H x W pixels, G generated ones of U x V, C = 3 channels in RGB order, uint8.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eval.metrics.region_psnr import REGIONS, region_mask
from src.common.errors import UserError
from src.pose.formats import load_poses

# Of a region's size, added on each side of it, so that one sees where it is.
MARGIN = 0.3
SHOWN_HEIGHT = 96


@dataclass(frozen=True)
class WorstFrame:
    """A region of one frame, true and generated side by side.

    Attributes:
        label: of the method.
        value: PSNR inside the region, dB; of frames of another size than the true ones, brought to theirs (Lanczos).
        data: the picture, a WebP in base64.
    """

    label: str
    region: str
    frame: int
    value: float
    data: str


def worst_frames(label: str, generated_GUVC: np.ndarray, real_FHWC: np.ndarray, poses: Path) -> list[WorstFrame]:
    """The worst frame by each region; none where the true frames' poses are not there or belong to others.

    Args:
        poses: file of the real frames' keypoints, as a run keeps it beside them.
    """
    if len(generated_GUVC) != len(real_FHWC) or not poses.is_file():
        return []
    try:
        keypoints = load_poses(poses)
    except UserError:
        return []
    if len(keypoints) != len(real_FHWC):
        return []
    squared_FHW = np.stack([_squared(*pair) for pair in zip(generated_GUVC, real_FHWC, strict=True)])
    found = []
    for region in REGIONS:
        mask_FHW = region_mask(keypoints, region, *real_FHWC.shape[1:3])
        pixels_F = mask_FHW.sum((1, 2))
        error_F = np.divide(
            (squared_FHW * mask_FHW).sum((1, 2)), pixels_F, out=np.zeros(len(pixels_F)), where=pixels_F > 0
        )
        frame = int(error_F.argmax())
        if error_F[frame] > 0:
            value = 10 * float(np.log10(255**2 / error_F[frame]))
            cut = _cut(real_FHWC[frame], generated_GUVC[frame], mask_FHW[frame])
            found.append(WorstFrame(label, region, frame, value, as_webp(cut)))
    return found


def as_webp(picture_HWC: np.ndarray) -> str:
    """A picture as base64 WebP."""
    buffer = io.BytesIO()
    Image.fromarray(picture_HWC).save(buffer, "WEBP", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _squared(generated_UVC: np.ndarray, real_HWC: np.ndarray) -> np.ndarray:
    """Squared difference (H, W) in the true frame's pixels, the mean over colours."""
    height, width = real_HWC.shape[:2]
    sized_HWC = generated_UVC
    if generated_UVC.shape != real_HWC.shape:
        sized_HWC = np.asarray(Image.fromarray(generated_UVC).resize((width, height), Image.Resampling.LANCZOS))
    return np.square(sized_HWC.astype(np.float64) - real_HWC).mean(-1)


def _cut(real_HWC: np.ndarray, generated_UVC: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """The region's rectangle with some margin, true beside generated, `SHOWN_HEIGHT` high.

    Of frames of two sizes it is the same part of both, each cut out of its own pixels.
    """
    height, width = mask_HW.shape
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    margin = round(MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1
    top, bottom = max(0, rows[0] - margin), min(height, rows[-1] + margin + 1)
    left, right = max(0, columns[0] - margin), min(width, columns[-1] + margin + 1)
    shown = (max(1, round((right - left) * SHOWN_HEIGHT / (bottom - top))), SHOWN_HEIGHT)
    cuts = []
    for side in (real_HWC, generated_UVC):
        y, x = side.shape[0] / height, side.shape[1] / width
        box = (left * x, top * y, right * x, bottom * y)
        cuts.append(np.asarray(Image.fromarray(side).resize(shown, Image.Resampling.LANCZOS, box=box)))
    return np.concatenate(cuts, axis=1)
