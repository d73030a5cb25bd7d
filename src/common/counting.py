"""Numbers of things, and of frames, in messages."""

from collections.abc import Sequence


def counted(number: int, one: str, several: str | None = None) -> str:
    """How many of something, in words that agree.

    Args:
        one: what it is called.
        several: what more or fewer than one are called; None: `one` with an s.

    >>> counted(1, "frame"), counted(0, "frame"), counted(2, "person", "people")
    ('1 frame', '0 frames', '2 people')
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def frame_ranges(frames: Sequence[int], *, limit: int | None = None) -> str:
    """Frame numbers in short form, at most `limit` stretches of them.

    >>> frame_ranges([0, 1, 2, 7, 9, 10])
    '0-2, 7, 9-10'
    >>> frame_ranges([0, 2, 4], limit=1)
    '0, and 2 more stretches'
    """
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    shown = runs[:limit]
    text = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in shown)
    more = len(runs) - len(shown)
    return f"{text}, and {counted(more, 'more stretch', 'more stretches')}" if more else text


def named_frames(frames: Sequence[int], *, limit: int | None = None) -> str:
    """Frames by number, as of `frame_ranges`.

    >>> named_frames([3]), named_frames([3, 4])
    ('frame 3', 'frames 3-4')
    """
    return f"{'frame' if len(frames) == 1 else 'frames'} {frame_ranges(frames, limit=limit)}"
