"""Generate a person in other poses: one who was learnt, `python -m src.sample run=outputs/<run> poses=…`, or one of
whom there is a picture, `python -m src.sample method=magicanimate subject=me poses=dance.mp4 condition=densepose.mp4`.
"""

from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from src.app.as_in_run import GROUPS
from src.app.entry import entry, overrides, settings_of
from src.common.errors import UserError
from src.common.trainer import TrainerSettings
from src.common.typed import changed, given, typed
from src.methods.settings import KINDS, AnyMethodSettings
from src.models.settings import ModelSettings, refuse_controlnets
from src.runs.sample_settings import SampleSettings
from src.sampling.settings import SamplingSettings

OWN = "posecrafter"


@dataclass(frozen=True, kw_only=True)
class CommandLine(SampleSettings):
    """All that the command line may hold."""

    method: AnyMethodSettings
    model: ModelSettings
    sampling: SamplingSettings


@entry("sample", CommandLine)
def main(cfg: DictConfig) -> None:
    """Command line."""
    settings = settings_of(SampleSettings, cfg, without=(*GROUPS, "model"))
    if settings.output is not None:
        # Seconds of imports that `--help` and a misspelt setting need not wait for.
        from src.runs.samples import refuse_run_folder

        refuse_run_folder(settings.output)
    kind = OWN if OmegaConf.is_missing(cfg.method, "kind") else cfg.method.kind
    if kind == OWN:
        from src.runs.film import film_person
        from src.runs.run_folder import RunFolder

        _check_own(settings)
        trained = RunFolder(str(settings.run)).settings()
        film_person(settings, **{group: changed(getattr(trained, group), given(cfg[group]), group) for group in GROUPS})
        return
    if kind in KINDS and (trains := KINDS[kind].trains) is not None:
        raise UserError(f"method={kind} learns {trains} of a clip, not of a picture: python -m eval.run method={kind}")
    if settings.run is not None:
        raise UserError(f"run={settings.run}: method={kind} learns no one; give subject= in its place")
    if settings.subject is None:
        raise UserError(f"subject is not set: method={kind} takes a picture: give subject=IMAGE, a video or a subject")
    if settings.prompt is not None:
        raise UserError(f"prompt={settings.prompt}: method={kind} has no target prompt; leave it out")
    from src.methods.film import film_picture

    model = typed(ModelSettings, cfg.model, "model")
    refuse_controlnets(model, f"method={kind} has none")
    film_picture(
        settings,
        typed(cast(Any, AnyMethodSettings), cfg.method, "method"),
        model,
        changed(TrainerSettings(), given(cfg.trainer), "trainer"),
    )


def _check_own(settings: SampleSettings) -> None:
    """Raise a UserError where there is no run, or what goes with other methods is given."""
    if settings.run is None:
        others = " or ".join(name for name, kind in KINDS.items() if kind.trains is None)
        raise UserError(f"run is not set: give it on the command line as run=VALUE, or method={others} with subject=")
    for name in ("subject", "mask"):
        if (value := getattr(settings, name)) is not None:
            raise UserError(f"{name}={value} goes with a method that learns no one: a run has its own person")
    for override in overrides():
        if override.lstrip("+~").partition("=")[0].partition(".")[0] == "model":
            raise UserError(f"{override} goes with a method that learns no one: a run has its own model; leave it out")


if __name__ == "__main__":
    main()
