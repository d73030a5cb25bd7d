"""Where the time of a step goes, kernel by kernel, by PyTorch's profiler."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.autograd import DeviceType
from torch.profiler import profile

KEPT = 25
NAME_LENGTH = 120


@contextlib.contextmanager
def profiled(device: torch.device) -> Iterator[list[dict[str, Any]]]:
    """Within the block, watch what runs; the list is filled at its end.

    Args:
        device: whose kernels count; of a CPU, its operations without those they call.

    Yields:
        Records of `kernel`, `milliseconds` in all and `calls`, the longest first and at most 25; one more, `others`, is
        of the rest.
    """
    rows: list[dict[str, Any]] = []
    with profile() as watched:
        yield rows
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    side = DeviceType.CPU if device.type == "cpu" else DeviceType.CUDA
    found = []
    for event in watched.key_averages():
        # Spans with a name of their own, such as the optimiser's step, hold kernels and are none.
        if event.device_type == side and not event.is_user_annotation:
            microseconds = event.self_cpu_time_total if side == DeviceType.CPU else event.self_device_time_total
            found.append((event.key[:NAME_LENGTH], microseconds / 1e3, event.count))
    found.sort(key=lambda row: -row[1])
    rest = found[KEPT:]
    found = [*found[:KEPT], ("others", sum(row[1] for row in rest), sum(row[2] for row in rest))]
    rows += [{"kernel": name, "milliseconds": round(ms, 3), "calls": calls} for name, ms, calls in found]


class ProfiledStep(Callback):
    """Profile one step of a training, the one with number `step` from 0.

    Attributes:
        kernels: as of `profiled`; empty before.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.kernels: list[dict[str, Any]] = []
        self._stack = contextlib.ExitStack()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            self.kernels = self._stack.enter_context(profiled(pl_module.device))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stack.close()
