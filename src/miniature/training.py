"""A pre-training from its settings to weights on disk, whatever the part."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger

from src.common.atomic import atomic_path
from src.common.checkpoints import usable
from src.common.files import write_json
from src.common.trainer import seconds_of
from src.miniature.common import MovingAverage, PoolModule
from src.miniature.pacing import TOLD_EVERY, Bar, FinishInTime
from src.miniature.pools import render_pool
from src.miniature.settings import RATE, PretrainSettings
from src.models.weights_file import require_finite
from src.training.callbacks import FiniteLoss, LastCheckpoint, TimeLimit
from src.training.fitting import fit_or_stop

log = logging.getLogger(__name__)


def train(settings: PretrainSettings, build: Callable[..., PoolModule], config: str) -> dict[str, float]:
    """Train one part on rendered people, or go on where an earlier run in `run_dir` stopped.

    Renders the people that are missing first. If training reaches `part.max_steps`, the averaged weights are measured
    on held-out people and written to `weights_dir`; if `max_time` ends it before, they are in `run_dir/unfinished`,
    beside the checkpoint from which the same command goes on. `finish_in` makes it a whole training of as many steps as
    there is time for.

    Args:
        build: the module of the part, from its pools by name.
        config: what asks for it, for the record in `run_dir`.

    Returns:
        The held-out figures, also in `figures.json` of `run_dir`; empty if training is not finished.

    Raises:
        UserError: another pool is in the folders, a part that this one stands on is missing, or training diverged.
        Stopped: on request, after a checkpoint.
    """
    lightning.seed_everything(settings.seed, verbose=False)
    trainer = build_trainer(settings)  # what it refuses is not to be found out after the people are rendered
    run_dir, weights_dir = Path(settings.run_dir), Path(settings.weights_dir)
    data = {"train": settings.data.train, "heldout": settings.data.heldout}
    pools = {name: render_pool(**vars(pool), workers=settings.data.workers) for name, pool in data.items()}
    module = build(**pools)
    with atomic_path(run_dir / "config.yaml") as temporary:
        temporary.write_text(config, encoding="utf-8")
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


def build_trainer(settings: PretrainSettings) -> lightning.Trainer:
    """The trainer of the settings with checkpoints, averaged weights, a progress bar and a table of the losses."""
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
