"""What holds from a command's first moment, before anything large is imported."""

import os

from src.common.stopping import stop_in_one_line


def begin() -> None:
    """Let Ctrl-C end the program in one line, and threads that wait for each other sleep."""
    stop_in_one_line()
    _sleep_soon()


def _sleep_soon() -> None:
    """Have the threads of GNU's OpenMP, which PyTorch brings, sleep after 20,000 turns of waiting; not 300,000.

    It reads this when PyTorch is imported. Where programs shared two cores, each on both, a fine-tune of 22 CPU
    seconds was not done after 105: its threads waited at full speed for those that had no core. With 1,000 turns it was
    done soonest, but a program that has the cores to itself took a sixth longer (`experiments/SPEED.md`).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
