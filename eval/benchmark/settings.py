"""Settings of a benchmark: what `conf/eval.yaml` describes, but for loggers, which name code."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field

from eval.benchmark.external.settings import AnySystem, system_kinds
from eval.metrics.registry import metric_keys
from eval.networks.settings import NetworkSettings
from eval.scoring.protocol import Protocol
from eval.scoring.settings import ScoreSettings
from src.common.counting import counted
from src.common.digests import digest
from src.common.errors import UserError
from src.common.paths import choices
from src.common.typed import FileName, check_range, identity, plain, setting
from src.data.datasets.settings import DatasetSettings, dataset_kinds
from src.methods.settings import KINDS, AnyMethodSettings, MethodKind
from src.models.settings import refuse_controlnets
from src.pose.extractors.settings import ExtractorSettings
from src.runs.settings import LearningSettings, RunSettings

if TYPE_CHECKING:
    from src.methods.base import Surroundings

EXTERNAL: Literal["external"] = "external"


@dataclass(frozen=True, kw_only=True)
class ExternalMethod:
    """Another system's videos under our protocol."""

    kind: Literal["external"] = EXTERNAL

    @property
    def name(self) -> str:
        """As of our own methods."""
        return self.kind


BenchmarkMethod = Annotated[ExternalMethod | AnyMethodSettings, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class BenchmarkGroup:
    """The group `benchmark`: its name in tables, and the metrics that it is judged by."""

    name: str
    metrics: tuple[str, ...] | str


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(NetworkSettings, LearningSettings):
    """One method on one benchmark.

    Attributes:
        metrics: as of `ScoreSettings`.
        num_frames: N, training frames; `data.num_frames` follows it.
        subjects: names; None: all that there are.
        prepared_resolution: of the subjects in `data.root`.
        output: results go to `<output>/<benchmark>/<label>/results.json`.
        label: None: `default_label`.
        runs: where fine-tuned models and their videos are kept.
        system: of `method=external`.
        external: what goes to other systems and comes back.
    """

    method: BenchmarkMethod = setting(counts="sampling")  # type: ignore[assignment]
    pose: ExtractorSettings
    protocol: Protocol
    dataset: DatasetSettings
    benchmark: BenchmarkGroup
    metrics: tuple[str, ...] | str
    num_frames: int
    subjects: tuple[str, ...] | None = None
    prepared_resolution: int = 512
    output: FileName = "outputs/eval"
    label: FileName | None = None
    runs: FileName = "outputs/runs"
    system: AnySystem | None = None
    external: FileName = "outputs/external"

    def __post_init__(self) -> None:
        NetworkSettings.__post_init__(self)
        LearningSettings.__post_init__(self)
        refuse_controlnets(self.model, "a benchmark shows a method poses alone, and these would see the true frames")
        check_range("prepared_resolution", self.prepared_resolution, least=1)
        # Tables set what is called so beside numbers of that data set.
        if (name := self.benchmark.name) in dataset_kinds() and (kind := self.dataset.kind) != name:
            # As it was given: a shipped one of another's kind is chosen by its name.
            own = getattr(self.dataset, "name", kind)
            given = own if own in choices("dataset") else kind
            raise UserError(
                f"benchmark={name} is of dataset={name}, not of dataset={given}: give clips of another "
                "data set a name of their own too, benchmark.name=NAME"
            )
        object.__setattr__(self, "metrics", metric_keys(self.metrics))
        if self.data.num_frames != self.num_frames:
            raise UserError(f"data.num_frames={self.data.num_frames} follows num_frames={self.num_frames}: set that")
        external = isinstance(self.method, ExternalMethod)
        if not external and self.system is not None:
            raise UserError(
                f"system={self.system.name} goes with method={EXTERNAL}, not with method={self.method.name}"
            )
        if external and self.system is None:
            known = "|".join(get_args(get_type_hints(kind)["kind"])[0] for kind in system_kinds())
            raise UserError(f"method={EXTERNAL} needs a system: system={known}")
        if self.system is not None and self.system.num_frames not in (1, self.num_frames):
            raise UserError(
                f"system.num_frames={self.system.num_frames}: {self.system.name} sees the reference (1) or all "
                f"training frames (num_frames={self.num_frames})"
            )

    @property
    def scoring(self) -> ScoreSettings:
        return ScoreSettings(metrics=self.metrics, protocol=self.protocol)

    @property
    def runs_folder(self) -> Path:
        """Where the subjects' runs are kept."""
        return Path(self.runs) / self.benchmark.name

    @property
    def kind(self) -> MethodKind:
        """What the method asks for, where it is none of other systems."""
        return KINDS[self.method.kind]

    def run(self, subject: str) -> RunSettings:
        """The settings of one subject's run."""
        return RunSettings(**self.shared(), subject=subject, pose=self.pose, sample_after_train=False)

    def around(self) -> "Surroundings":
        """What methods share."""
        from src.methods.base import Surroundings  # the models, which `--help` need not wait for

        return Surroundings(
            model=self.model,
            trainer=self.trainer,
            seed=self.seed,
            fine_tune_cache=self.fine_tune_cache,
            checkpoint_every_n_steps=self.checkpoint_every_n_steps,
            learning=self.run("none") if self.kind.uses is None else None,
        )

    def _used(self) -> list[str]:
        """The groups of settings that the method reads."""
        names = [field.name for field in fields(LearningSettings)]
        return names if self.kind.uses is None else ["method", *self.kind.uses]

    def who(self) -> dict[str, Any]:
        """The keys of a result that name the method and its settings."""
        if self.system is not None:
            settings = {"system": plain(self.system), "data": plain(self.data)}
            return {"method": self.system.name, "num_frames": self.system.num_frames, "model": None} | {
                "settings": settings
            }
        used = {name: getattr(self, name) for name in self._used()}
        settings = {
            name: value if isinstance(value, (int, str, type(None))) else plain(value) for name, value in used.items()
        }
        return {
            "method": self.method.name,
            "num_frames": self.kind.num_frames(self.num_frames),
            "model": self.model.name if "model" in used else None,
            "settings": settings | {"pose": plain(self.pose)},
        }

    def identity(self) -> str:
        """SHA-256 of everything that the numbers depend on by settings: results of other ones are other results."""
        if self.system is not None:
            learning = {"system": plain(self.system), "data": identity(self.data, "sampling"), "seed": self.seed}
        else:
            used = self._used()
            learning = {key: value for key, value in identity(self, "sampling").items() if key in used}
        from eval.benchmark.judges import checksums, unpublished  # torch, which `--help` need not wait for

        files = checksums(unpublished(self.scoring, self.pose.build()), self.store())
        return digest(
            # Nothing more where all are published, so that results of before keep their identity.
            ({"unpublished": files} if files else {})
            | {
                "learning": learning,
                "protocol": self.protocol.content(),
                "networks": published_checksums(self.protocol),
                "pose": plain(self.pose),
                "prepared_resolution": self.prepared_resolution,
                "dataset": plain(self.dataset)["kind"],
                "subjects": None if self.subjects is None else sorted(self.subjects),
            }
        )

    def default_label(self) -> str:
        """Name of the result's folder: what it is, and a digest of its identity."""
        if self.system is not None:
            who = f"{self.system.name}-{self.system.num_frames}"
        else:
            named = self.who()
            who = "-".join(str(named[key]) for key in ("method", "num_frames", "model") if named[key] is not None)
        return f"{who}-{self.protocol.label()}-{self.identity()[:8]}"

    def tags(self, job: str) -> list[str]:
        """What a benchmark's runs are filtered by in W&B; their group is the benchmark."""
        who = self.who()
        named = [who["method"], *([who["model"]] if who["model"] else []), counted(who["num_frames"], "frame")]
        return [job, self.benchmark.name, *named, self.protocol.name]


def published_checksums(protocol: Protocol) -> list[str | None]:
    """SHA-256 of the networks that a protocol names; None where nobody publishes it: `eval.benchmark.judges`."""
    from eval.networks.weights import FILES, HUB  # torch, which `--help` need not wait for

    files = (protocol.lpips.backbone, protocol.fid.network, protocol.fvd.network)
    return [*(FILES[name].sha256 for name in files), HUB[protocol.clip.model].sha256]
