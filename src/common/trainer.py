"""Device, precision and length of whatever Lightning runs: the config group `trainer`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from src.common.errors import UserError
from src.common.typed import check_range, setting

if TYPE_CHECKING:
    import lightning
    import torch

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]


def seconds_of(name: str, text: str) -> int:
    """Seconds of a time as DD:HH:MM:SS.

    Args:
        name: of the setting, for the message.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+):(\d{2}):(\d{2}):(\d{2})", str(text))
    if found is None:
        raise UserError(f"{name}={text} must be DD:HH:MM:SS, such as 00:02:30:00")
    days, hours, minutes, seconds = map(int, found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Arguments of `lightning.Trainer`, under its own names.

    Attributes:
        accelerator: where it runs.
        devices: 1, or which one as a list of its number. A fine-tune and its video are the work of one device.
        precision: of the computation; sampling uses it as well.
        max_steps: steps of the fine-tune.
        max_time: stop after so much time, DD:HH:MM:SS, to be gone on with by the same command, which has as much again;
            null: no limit.
        gradient_clip_val: largest norm of the gradient; null: any.
        accumulate_grad_batches: 1: what is random in a step is a function of its number.
        deterministic: ask PyTorch for deterministic algorithms; null: as PyTorch is set.
        log_every_n_steps: how often loggers are told.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting("auto", counts="nothing")
    devices: int | list[int] | Literal["auto"] = setting(1, counts="nothing")
    precision: Precision = "bf16-mixed"
    max_steps: int = 200
    max_time: str | None = setting(None, counts="nothing")
    gradient_clip_val: float | None = 1.0
    accumulate_grad_batches: int = 1
    deterministic: bool | None = setting(None, counts="nothing")
    log_every_n_steps: int = setting(1, counts="nothing")

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise UserError(f"trainer.max_steps={self.max_steps}: the fine-tune needs at least one step")
        self._check_devices()
        check_range("trainer.gradient_clip_val", self.gradient_clip_val, above=0)
        if self.accumulate_grad_batches != 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={self.accumulate_grad_batches}: a step is one batch, of which its "
                "number decides all that is random; leave it out"
            )
        check_range("trainer.log_every_n_steps", self.log_every_n_steps, least=1)
        if self.max_time is not None:
            seconds_of("trainer.max_time", self.max_time)

    def _check_devices(self) -> None:
        if self.devices != 1 and not (isinstance(self.devices, list) and len(self.devices) == 1):
            raise UserError(
                f"trainer.devices={self.devices}: a person is learnt and filmed on one device: leave it out, or name "
                "one as [0]; a sweep (-m) runs a job on each of several by hydra/launcher=gpus, slurm or ray_cluster"
            )

    def check_available(self) -> "torch.device":
        """The device that it will be; raises, as `build` does, where this machine has not what the settings ask for."""
        return self.build(folder=None, logger=False, enable_checkpointing=False).strategy.root_device

    def build(self, *, folder: Path | None, **more: Any) -> "lightning.Trainer":
        """A Trainer without bars and pictures of its own.

        Args:
            folder: where Lightning may leave files; None: it leaves none.
            more: callbacks, logger, limits of the stage that runs.

        Raises:
            UserError: the accelerator, its devices or the precision are not to be had on this machine.
        """
        import lightning
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        from src.common.checkpoints import WholeCheckpoints

        # Not `max_time`: Lightning keeps in checkpoints how much of it is used up, and what is gone on with would stop
        # at once (`TimeLimit` of `src/training/callbacks.py`).
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "max_time"}
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "max_epochs": -1}
        try:
            return lightning.Trainer(default_root_dir=folder, plugins=[WholeCheckpoints()], **values | quiet | more)
        except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
            raise UserError(
                f"trainer.accelerator={self.accelerator}, devices={self.devices}, precision={self.precision} cannot "
                f"be had here: {str(error).splitlines()[0]}"
            ) from error


@dataclass(frozen=True, kw_only=True)
class SeveralDevicesSettings(TrainerSettings):
    """The same of a training that several devices share: `src.pretrain`.

    Attributes:
        devices: how many, which ones, or `auto` for all.
    """

    def _check_devices(self) -> None:
        if isinstance(self.devices, int):
            check_range("trainer.devices", self.devices, least=1)
