"""Features of real frames on disk: every method that is scored against the same frames computes them once."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from eval.scoring.libraries import code_versions
from src.common.atomic import atomic_path
from src.common.counting import counted
from src.common.digests import digest
from src.common.errors import DamagedFile, UserError
from src.models.weights_file import read_tensors
from src.pose.formats import load_poses, save_poses
from src.pose.keypoints import PoseSequence

log = logging.getLogger(__name__)


class FeatureStore:
    """Files named by the SHA-256 of the frames and of what was computed from them; they never grow old.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, frames_sha256: str, how: Sequence[str], shape: tuple[int, int | None]) -> Tensor | None:
        """The features, on the CPU, if they were computed before.

        Args:
            frames_sha256: of the real frames, `ScoredClip.real_sha256`; a clip's is taken once for all questions.
            how: names network, weights and settings, whatever else they depend on.
            shape: (rows, columns) that they must have; columns None: any number.
        """
        path = self._path(frames_sha256, how, ".safetensors")
        if path.is_file():
            try:
                features = read_tensors(str(path), option="features").get("features")
                if features is not None and _fits(features, shape):
                    return features
                raise UserError(f"{path} holds no features of those frames")
            except UserError as error:
                log.warning("%s: the features are computed again", error)
        return None

    def keep(self, frames_sha256: str, how: Sequence[str], features: Tensor) -> None:
        """Keep what `find` is to find."""
        with atomic_path(self._path(frames_sha256, how, ".safetensors")) as temporary:
            save_file({"features": features.cpu().contiguous()}, temporary)

    def poses(
        self, frames_sha256: str, how: Sequence[str], make: Callable[[], PoseSequence], *, count: int
    ) -> PoseSequence:
        """Keypoints of before, or those that `make` makes.

        Args:
            count: of the frames.
        """
        path = self._path(frames_sha256, how, ".npz")
        if path.is_file():
            try:
                if len(kept := load_poses(path)) == count:
                    return kept
                raise DamagedFile(f"{path} holds {counted(len(kept), 'pose')} of {counted(count, 'frame')}")
            except DamagedFile as error:
                log.warning("%s: the poses are extracted again", error)
        save_poses(path, make())
        return load_poses(path)

    def _path(self, frames_sha256: str, how: Sequence[str], suffix: str) -> Path:
        return self.folder / f"{digest([frames_sha256, code_versions(), *how])}{suffix}"


def _fits(features: Tensor, shape: tuple[int, int | None]) -> bool:
    """Whether a tensor, which anybody may have written, can be those features."""
    sized = features.ndim == 2 and all(
        wanted in (None, size) for wanted, size in zip(shape, features.shape, strict=True)
    )
    return sized and features.is_floating_point() and bool(features.isfinite().all())
