"""Configurations of the other entry points, composed inside a running one."""

from omegaconf import DictConfig

from src.app.compose import compose_like


def compose_train(cfg: DictConfig) -> DictConfig:
    """The configuration of `src.train` with the groups of `conf/eval.yaml`; subject and run_dir are open."""
    composed = compose_like("train", cfg)
    composed.data.num_frames, composed.seed = cfg.num_frames, cfg.seed
    composed.fine_tune_cache = cfg.fine_tune_cache
    if "group" in composed.logger:
        composed.logger.group, composed.logger.tags = cfg.benchmark.name, tags(cfg, "train")
    return composed


def tags(cfg: DictConfig, job: str) -> list[str]:
    """What a benchmark's runs are filtered by in W&B; their group is the benchmark."""
    return [job, cfg.benchmark.name, cfg.method.name, cfg.model.name, f"{cfg.num_frames} frames", cfg.protocol.name]
