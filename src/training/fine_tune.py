"""The one-shot fine-tune of a run folder: fit, resume, save the adapter (Sec. 4.1)."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import lightning
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from src.app.loggers import log_config
from src.common.errors import UserError
from src.common.files import atomic_path, digest, read_json, write_json
from src.models.adapter import load_adapter, save_adapter
from src.models.backbone import VideoBackbone
from src.models.image_model import ImageModel
from src.runs.provenance import IRRELEVANT, OF_SAMPLING, plain_settings, weights_identity
from src.runs.run_folder import ADAPTER, CONFIG, COST, TrainingClip, save_config
from src.training.callbacks import Cost, FineTuneProgress, peak_memory_gib
from src.training.data_module import OneShotDataModule
from src.training.one_shot_module import OneShotModule

log = logging.getLogger(__name__)
# What a fine-tune depends on; everything else may differ when a run goes on.
_DECISIVE = ("subject", "prompt", "seed", "data", "model", "optimizer", "trainer.max_steps", "trainer.precision")


def fine_tune(
    image_model: ImageModel,
    backbone: VideoBackbone,
    clip: TrainingClip,
    cfg: DictConfig,
    folder: Path,
    callbacks: list[Callback],
) -> dict:
    """Train the backbone on the clip and leave `adapter.safetensors` in the run folder.

    A fine-tune that was stopped goes on from its last checkpoint with the same next loss. A finished one is loaded,
    from the run folder or, where `fine_tune_cache` holds one of the same frames, weights and settings, from there.

    Returns:
        What it cost, or had cost.
    """
    save_config(folder, cfg)
    if not (folder / ADAPTER).is_file():
        clip.save(folder)
    cached = None if cfg.fine_tune_cache is None else Path(cfg.fine_tune_cache) / _content_key(cfg, clip)
    for finished in filter(None, (folder, cached)):
        if (finished / ADAPTER).is_file() and (finished / COST).is_file():
            load_adapter(finished / ADAPTER, backbone, base=image_model.base)
            log.info("fine-tuned already: the adapter in %s is used", finished)
            _copy_finished(finished, folder)
            return read_json(finished / COST)
    lightning.seed_everything(cfg.seed, verbose=False)

    checkpoints = folder / "checkpoints"
    saver = ModelCheckpoint(checkpoints, "{step}", every_n_train_steps=cfg.checkpoint_every_n_steps, save_top_k=1)
    cost = Cost()
    trainer = instantiate(
        cfg.trainer,
        logger=instantiate(cfg.logger),
        callbacks=[saver, cost, FineTuneProgress(), *callbacks],
        enable_progress_bar=False,
        default_root_dir=str(folder),
    )
    log_config(trainer.loggers, cfg)
    module = OneShotModule(
        backbone,
        image_model.scheduler,
        instantiate(cfg.optimizer),
        batch_frames=cfg.data.batch_frames,
        seed=cfg.seed,
    )
    data = OneShotDataModule(clip.frames, clip.poses, clip.prompt, encoder=image_model, num_steps=cfg.trainer.max_steps)
    last = last_checkpoint(checkpoints)
    if last is not None:
        log.info("going on from %s", last)
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=last)
    backbone.clear_reused()

    save_adapter(
        folder / ADAPTER, backbone, base=image_model.base, config=OmegaConf.to_container(cfg.model, resolve=True)
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    spent = {
        "steps": trainer.global_step,
        "loss": cost.loss,
        "seconds": round(time.perf_counter() - started, 3),
        "seconds_per_step": cost.seconds_per_step,
        "peak_memory_gib": round(peak_memory_gib(trainer.strategy.root_device), 3),
        "trained_parameters": backbone.num_trainable(),
        "device": str(trainer.strategy.root_device),
        "precision": str(cfg.trainer.precision),
    }
    write_json(folder / COST, spent)
    if cached is not None:
        _copy_finished(folder, cached)
    return spent


def _content_key(cfg: DictConfig, clip: TrainingClip) -> str:
    """Of everything that the adapter depends on: frames, poses, prompt, weights and settings."""
    settings = plain_settings(cfg, (*IRRELEVANT, *OF_SAMPLING, "subject", "prompt"))
    return digest([clip.checksums(), clip.prompt, weights_identity(cfg.model), settings])[:24]


def _copy_finished(source: Path, target: Path) -> None:
    """Adapter and cost from one folder to another; the adapter last, since it is what says that all is there."""
    for name in (COST, ADAPTER):
        if not (target / name).is_file():
            with atomic_path(target / name) as temporary:
                shutil.copyfile(source / name, temporary)


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, if there is any."""
    found = sorted(folder.glob("step=*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    return found[-1] if found else None


def check_fine_tune(folder: Path, cfg: DictConfig) -> None:
    """Refuse what cannot be trained, and to go on with a run folder whose fine-tune has other settings.

    Raises:
        UserError: trainer.max_steps is not positive; or names the first setting that differs.
    """
    if cfg.trainer.max_steps < 1:
        raise UserError(f"trainer.max_steps={cfg.trainer.max_steps}: the fine-tune needs at least one step")
    if not (folder / CONFIG).is_file():
        return
    before = OmegaConf.load(folder / CONFIG)
    for key in _DECISIVE:
        old, new = (_plain(OmegaConf.select(c, key)) for c in (before, cfg))
        if old != new:
            raise UserError(
                f"run_dir={folder} holds a run with another {key} ({old}, not {new}): choose another run_dir, or give "
                "the same settings to go on with it"
            )


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
