"""`python -m src.pretrain part=vae|base|keypoints|clip`: train the miniature models on rendered people."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.app.entry import entry
from src.common.files import atomic_path, write_json
from src.common.stopping import deferred
from src.common.trainer import SeveralDevicesSettings, seconds_of
from src.common.typed import FileName, typed

if TYPE_CHECKING:
    import lightning

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PretrainPaths:
    """The paths of `conf/pretrain.yaml`, which nobody parses; networks are `_target_`s of `conf/part`."""

    folder: FileName
    run_dir: FileName
    weights_dir: FileName


def pretrain(cfg: DictConfig) -> dict[str, float]:
    """Train one part on rendered people, or go on where an earlier run in `run_dir` stopped.

    Renders the people that are missing first. If training reaches `part.max_steps`, the averaged weights are measured
    on held-out people and written to `weights_dir`; if `max_time` ends it before, they are in `run_dir/unfinished`,
    beside the checkpoint from which the same command goes on. `finish_in` makes it a whole training of as many steps as
    there is time for.

    Returns:
        The held-out figures, also in `figures.json` of `run_dir`; empty if training is not finished.

    Raises:
        UserError: another pool is in the folders, or a part that this one stands on is missing.
    """
    # Seconds of imports that `--help` need not wait for.
    import lightning

    from src.miniature.pools import render_pool

    lightning.seed_everything(cfg.seed)
    trainer = build_trainer(cfg)  # what it refuses is not to be found out after the people are rendered
    run_dir, weights_dir = Path(cfg.run_dir), Path(cfg.weights_dir)
    pools = {name: render_pool(**cfg.data[name], workers=cfg.data.workers) for name in ("train", "heldout")}
    module = instantiate(cfg.part.module)(**pools)
    last = run_dir / "checkpoints" / "last.ckpt"
    with atomic_path(run_dir / "config.yaml") as temporary:
        OmegaConf.save(cfg, temporary, resolve=True)
    with deferred():
        from src.common.checkpoints import usable  # Lightning, which `--help` need not wait for

        trainer.fit(module, ckpt_path=usable(last), weights_only=True)
    if trainer.global_step < trainer.max_steps:
        if trainer.is_global_zero:
            module.export(run_dir / "unfinished")
        log.info("stopped at step %d of %d; the same command goes on", trainer.global_step, trainer.max_steps)
        return {}
    figures = dict(trainer.validate(module, verbose=False)[0])
    figures["steps"] = trainer.global_step
    if trainer.is_global_zero:
        module.export(weights_dir)
        write_json(run_dir / "figures.json", figures)
        log.info("weights in %s; held-out people: %s", weights_dir, figures)
    return figures


def build_trainer(cfg: DictConfig) -> "lightning.Trainer":
    """The trainer of `cfg.trainer` with checkpoints, averaged weights, a progress bar and a table of the losses."""
    from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    from src.miniature.common import MovingAverage
    from src.miniature.pacing import Bar, FinishInTime
    from src.training.callbacks import StopWithCheckpoint, TimeLimit

    part = cfg.part
    checkpoint = ModelCheckpoint(
        f"{cfg.run_dir}/checkpoints", save_last=True, save_top_k=0, every_n_train_steps=cfg.checkpoint_every
    )
    in_time = [] if cfg.finish_in is None else [FinishInTime(seconds_of("finish_in", cfg.finish_in))]
    settings, last = (
        typed(SeveralDevicesSettings, cfg.trainer, "trainer"),
        Path(cfg.run_dir) / "checkpoints" / "last.ckpt",
    )
    limit = [] if settings.max_time is None else [TimeLimit(seconds_of("max_time", settings.max_time), last)]
    return settings.build(
        folder=Path(cfg.run_dir),
        benchmark=True,  # all batches are of one size
        enable_progress_bar=True,
        max_steps=part.max_steps,
        val_check_interval=part.validate_every,
        check_val_every_n_epoch=None,
        callbacks=[
            checkpoint,
            StopWithCheckpoint(last),
            *limit,
            MovingAverage(part.ema_decay, settings.check_available()),
            LearningRateMonitor("step"),
            Bar(),
            *in_time,
        ],
        logger=CSVLogger(cfg.run_dir, name="logs"),
    )


@entry("pretrain", PretrainPaths)
def main(cfg: DictConfig) -> None:
    """Command line."""
    pretrain(cfg)


if __name__ == "__main__":
    main()
