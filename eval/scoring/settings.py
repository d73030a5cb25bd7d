"""Settings of scoring."""

from dataclasses import dataclass

from eval.scoring.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """What is computed.

    Attributes:
        metrics: keys of `REGISTRY`; given, also names of `SETS`, which are replaced by theirs.
        protocol: every choice that changes a number.
    """

    metrics: tuple[str, ...] | str
    protocol: Protocol

    def __post_init__(self) -> None:
        # Seconds of imports that `--help` need not wait for.
        from eval.metrics.registry import metric_keys

        object.__setattr__(self, "metrics", metric_keys(self.metrics))
