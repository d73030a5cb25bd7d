"""`python -m src.pretrain part=vae|base|keypoints|clip`: train the miniature models on rendered people."""

import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.app.entry import entry
from src.common.atomic import atomic_path
from src.common.files import write_json
from src.common.trainer import SeveralDevicesSettings, seconds_of
from src.common.typed import FileName, check_range, given, typed
from src.miniature.settings import RATE, STEP, StepSettings

if TYPE_CHECKING:
    import lightning

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """A pool of rendered people; see `src.miniature.pools.render_pool`."""

    folder: FileName
    identities: int
    frames_per_identity: int
    size: int
    first_seed: int

    def __post_init__(self) -> None:
        for name in ("identities", "frames_per_identity", "size"):
            check_range(f"data: {name} of {self.folder}", getattr(self, name), least=1)
        check_range(f"data: first_seed of {self.folder}", self.first_seed, least=0)


@dataclass(frozen=True, kw_only=True)
class PoolsSettings:
    """The people to train on, those to measure on, and processes that render; null: one for every core."""

    workers: int | None = None
    train: PoolSettings
    heldout: PoolSettings

    def __post_init__(self) -> None:
        check_range("data.workers", self.workers, least=1)


@dataclass(frozen=True, kw_only=True)
class PartSettings:
    """How long a part is trained: what of `conf/part` is read here, not by its module.

    Attributes:
        max_steps: of the whole training.
        validate_every: steps between two measurements on held-out people.
        ema_decay: of the averaged weights, a step.
    """

    name: str
    max_steps: int
    validate_every: int
    ema_decay: float

    def __post_init__(self) -> None:
        check_range("part.max_steps", self.max_steps, least=1)
        check_range("part.validate_every", self.validate_every, least=1)
        check_range("part.ema_decay", self.ema_decay, least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What `conf/pretrain.yaml` describes, but for the networks, which are `_target_`s of `conf/part`.

    Attributes:
        folder, run_dir, weights_dir: of everything, of checkpoints and logs, of finished weights.
        checkpoint_every: steps between two checkpoints.
        max_time, finish_in: DD:HH:MM:SS; see `pretrain`.
    """

    seed: int
    folder: FileName
    run_dir: FileName
    weights_dir: FileName
    data: PoolsSettings
    part: PartSettings
    trainer: SeveralDevicesSettings
    checkpoint_every: int
    max_time: str | int | None
    finish_in: str | int | None

    def __post_init__(self) -> None:
        check_range("seed", self.seed, least=0, most=2**31 - 1)
        check_range("checkpoint_every", self.checkpoint_every, least=1)
        for name in ("max_time", "finish_in"):
            if (time := getattr(self, name)) is not None:
                seconds_of(name, str(time))


def settings_of_pretraining(cfg: DictConfig) -> PretrainSettings:
    """The settings that are read here, typed and checked.

    Raises:
        UserError: names the key that is missing or wrong.
    """
    values = {field.name: given(cfg[field.name]) for field in fields(PretrainSettings)}
    values["part"] = {field.name: values["part"][field.name] for field in fields(PartSettings)}
    typed(StepSettings, cfg.part.module.settings, STEP)
    return typed(PretrainSettings, values)


def pretrain(cfg: DictConfig) -> dict[str, float]:
    """Train one part on rendered people, or go on where an earlier run in `run_dir` stopped.

    Renders the people that are missing first. If training reaches `part.max_steps`, the averaged weights are measured
    on held-out people and written to `weights_dir`; if `max_time` ends it before, they are in `run_dir/unfinished`,
    beside the checkpoint from which the same command goes on. `finish_in` makes it a whole training of as many steps as
    there is time for.

    Returns:
        The held-out figures, also in `figures.json` of `run_dir`; empty if training is not finished.

    Raises:
        UserError: another pool is in the folders, a part that this one stands on is missing, or training diverged.
        Stopped: on request, after a checkpoint.
    """
    # Seconds of imports that `--help` need not wait for.
    import lightning

    from src.common.checkpoints import usable
    from src.miniature.pools import render_pool
    from src.models.weights_file import require_finite
    from src.training.fitting import fit_or_stop

    settings = settings_of_pretraining(cfg)
    lightning.seed_everything(settings.seed, verbose=False)
    trainer = build_trainer(settings)  # what it refuses is not to be found out after the people are rendered
    run_dir, weights_dir = Path(settings.run_dir), Path(settings.weights_dir)
    data = {"train": settings.data.train, "heldout": settings.data.heldout}
    pools = {name: render_pool(**vars(pool), workers=settings.data.workers) for name, pool in data.items()}
    module = instantiate(cfg.part.module)(**pools)
    with atomic_path(run_dir / "config.yaml") as temporary:
        OmegaConf.save(cfg, temporary, resolve=True)
    fit_or_stop(trainer, module, checkpoint=usable(_last_checkpoint(settings)))
    if trainer.global_step < trainer.max_steps:
        if trainer.is_global_zero:
            module.export(run_dir / "unfinished")
        log.info("stopped at step %d of %d; the same command goes on", trainer.global_step, trainer.max_steps)
        return {}
    require_finite(dict(module.named_parameters()), "the model", f"training diverged: take a lower {RATE}")
    # Of a part that no held-out frame shows there is no figure.
    measured = dict(trainer.validate(module, verbose=False)[0])
    figures = {name: value for name, value in measured.items() if math.isfinite(value)}
    figures["steps"] = trainer.global_step
    if trainer.is_global_zero:
        module.export(weights_dir)
        write_json(run_dir / "figures.json", figures)
        log.info("weights in %s; held-out people: %s", weights_dir, figures)
    return figures


def build_trainer(settings: PretrainSettings) -> "lightning.Trainer":
    """The trainer of the settings with checkpoints, averaged weights, a progress bar and a table of the losses."""
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger

    from src.miniature.common import MovingAverage
    from src.miniature.pacing import TOLD_EVERY, Bar, FinishInTime
    from src.training.callbacks import FiniteLoss, LastCheckpoint, TimeLimit

    part, trainer, run_dir = settings.part, settings.trainer, Path(settings.run_dir)
    in_time = [] if settings.finish_in is None else [FinishInTime(seconds_of("finish_in", str(settings.finish_in)))]
    limit = [] if trainer.max_time is None else [TimeLimit(seconds_of("max_time", trainer.max_time))]
    return trainer.build(
        folder=run_dir,
        benchmark=True,  # all batches are of one size
        enable_progress_bar=True,
        max_steps=part.max_steps,
        val_check_interval=part.validate_every,
        check_val_every_n_epoch=None,
        callbacks=[
            FiniteLoss(RATE, what="the training", every=TOLD_EVERY),
            LastCheckpoint(_last_checkpoint(settings), settings.checkpoint_every),
            *limit,
            MovingAverage(part.ema_decay),
            LearningRateMonitor("step"),
            Bar(),
            *in_time,
        ],
        logger=CSVLogger(run_dir, name="logs"),
    )


def _last_checkpoint(settings: PretrainSettings) -> Path:
    return Path(settings.run_dir) / "checkpoints" / "last.ckpt"


@entry("pretrain", PretrainSettings)
def main(cfg: DictConfig) -> None:
    """Command line."""
    pretrain(cfg)


if __name__ == "__main__":
    main()
