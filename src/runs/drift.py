"""How far a generated video goes from its reference frame as it goes on, in colour and in looks.

Both are read off the pixels, without a network, so that they cost nothing: they compare the beginning of a video with
its end, not one method with another. The looks change with the pose too.

Dimensions: M frames, H×W pixels, h×w of the reference, which may be larger; RGB uint8.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from src.common.atomic import atomic_path

_GRID = 16
# Of either end of the video, what is compared.
_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Drift:
    """Of every frame.

    Attributes:
        colour: (M,) distance of the mean colour to the reference's in CIE L*a*b* units; 2 is just to be seen.
        likeness: (M,) cosine of the picture and the reference, both shrunk to 16×16 and free of their mean, in [-1, 1].
    """

    colour: np.ndarray
    likeness: np.ndarray

    def summary(self) -> dict[str, Any]:
        """Means over all frames and over the first and the last tenth of them."""
        few = max(round(_SHARE * len(self.colour)), 1)
        return {
            name: {
                "mean": round(float(values.mean()), 4),
                "first": round(float(values[:few].mean()), 4),
                "last": round(float(values[-few:].mean()), 4),
            }
            for name, values in (("colour", self.colour), ("likeness", self.likeness))
        }


def drift(frames_MHWC: np.ndarray, reference_hwC: np.ndarray) -> Drift:
    """Compare every frame with the reference frame, one at a time."""
    colour, shrunk = _measured(reference_hwC)
    measured = [_measured(frame) for frame in frames_MHWC]
    colour_M = [float(np.linalg.norm(other - colour)) for other, _ in measured]
    likeness_M = [float(other @ shrunk) for _, other in measured]
    return Drift(np.array(colour_M), np.array(likeness_M))


def plot_drift(found: Drift, path: Path, *, fps: float) -> None:
    """Write both over time as a picture."""
    import matplotlib
    from matplotlib.figure import Figure

    # A figure without pyplot: no global state, no display.
    figure = Figure(figsize=(9, 4), layout="constrained")
    seconds = np.arange(len(found.colour)) / fps
    labels = ("colour difference (L*a*b*)", "likeness (cosine)")
    for axes, values, label in zip(
        figure.subplots(2, 1, sharex=True), (found.colour, found.likeness), labels, strict=True
    ):
        # Of one frame there is no line.
        axes.plot(seconds, values, color="#2a6f97", linewidth=1, marker="o" if len(values) == 1 else None)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[-1].set_xlabel("seconds")
    figure.axes[0].set_title("Drift from the reference frame", fontsize=10)
    with atomic_path(path) as temporary, matplotlib.rc_context({"font.size": 9}):
        figure.savefig(temporary, dpi=110)


def _measured(frame_HWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(3,) mean colour in L*a*b*, and the picture shrunk as a vector of length 1; a flat one is 0."""
    lab = cv2.cvtColor(frame_HWC.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    shrunk = cv2.resize(frame_HWC.astype(np.float32), (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    shrunk = (shrunk - shrunk.mean((0, 1))).ravel()
    return lab.mean((0, 1)), shrunk / max(float(np.linalg.norm(shrunk)), 1e-6)
