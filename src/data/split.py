"""Which frames of a clip are trained on and which are held out (Sec. 5.1)."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from src.common.counting import counted, named_frames
from src.common.errors import UserError

log = logging.getLogger(__name__)
RESERVED = 32  # the most frames that the paper trains on


@dataclass(frozen=True)
class Split:
    """Frame indices of a clip, rising.

    Attributes:
        train: the N frames to fine-tune on.
        test: the held-out frames, the last ones of the clip; empty if none were asked for.
        num_available: the frames before the held-out ones, from which `train` is taken.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    num_available: int


def split_frames(
    num_frames: int, *, num_train: int, num_test: int, unseen: Collection[int] = (), bad: Collection[int] = ()
) -> Split:
    """Hold out the last `num_test` frames and take `num_train` uniformly from those before them.

    The training frames include the first and the last frame available; a single one is the first. Which frames are held
    out does not depend on `num_train`, so that results of 8 and of 32 training frames rest on the same: a clip that is
    too short for all keeps 32 frames to train on, or half of it if that is less, and holds out the rest; the log
    says so. With the numbers of the paper no clip of 132 frames and more is too short.

    Args:
        unseen: frames in which the person was not found, which are never trained on.
        bad: frames that are to be made anew, which are not trained on either, nor spoken of.

    Raises:
        UserError: too few frames for `num_train` and, where any are asked for, one held-out frame.

    >>> split_frames(16, num_train=3, num_test=5)
    Split(train=(0, 5, 10), test=(11, 12, 13, 14, 15), num_available=11)
    """
    if num_train < 1 or num_test < 0:
        raise UserError(
            f"data.num_frames must be at least 1 and data.num_test_frames at least 0, got {num_train} and {num_test}"
        )
    available = num_frames
    if num_test:
        available = max(num_frames - num_test, min(RESERVED, num_frames // 2))
    there = sorted(set(range(available)) - set(bad))
    if num_train > len(there):
        settings = [f"data.num_frames={len(there)}"] if there else []
        settings += [f"data.num_test_frames={num_frames - num_train}"] if num_test and num_frames > num_train else []
        raise UserError(
            f"the clip has {counted(num_frames, 'frame')}, {len(there)} of them to train on, too few for "
            f"data.num_frames={num_train}: use a longer clip{''.join(f', or set {setting}' for setting in settings)}"
        )
    if num_test and num_frames - available < num_test:
        log.warning(
            "a clip of %s is too short to hold out %d: the last %d are held out, the first %d are there to train on",
            *(counted(num_frames, "frame"), num_test, num_frames - available, available),
        )
    usable = sorted(set(there) - set(unseen))
    if len(usable) < len(there):
        gone = sorted(set(there) - set(usable))
        log.warning("the person is not seen in %s, which training leaves out", named_frames(gone, limit=8))
    if len(usable) < num_train:
        raise UserError(
            f"the person is seen in {len(usable)} of the {counted(len(there), 'frame')} to train on, too few for "
            f"data.num_frames={num_train}: use fewer, {'' if bad else 'another stretch of the clip (data.start), '}or "
            "another extractor"
        )
    gaps = max(num_train - 1, 1)
    # Rounded i (usable - 1) / gaps in integers, so that no two indices can meet.
    train = tuple(usable[(2 * i * (len(usable) - 1) + gaps) // (2 * gaps)] for i in range(num_train))
    return Split(train, tuple(range(available, num_frames)), available)
