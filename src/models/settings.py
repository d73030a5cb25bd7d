"""Settings of the image model and the backbone: the config group `model`."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from src.common.digests import fingerprint
from src.common.errors import UserError
from src.common.typed import FileName, check_range, setting
from src.models.shipped import shipped_configs

GradientCheckpointing = bool | Literal["auto"]
Offload = bool | Literal["auto"]
PredictionType = Literal["epsilon", "v_prediction"]
Condition = Literal["canny", "softedge", "pidi", "depth", "images"]
# Half-precision weights need the operations of the same format; whole half-precision runs would round what is trained.
PRECISIONS = {
    "float32": ("32-true", "16-mixed", "bf16-mixed"),
    "bfloat16": ("bf16-mixed",),
    "float16": ("16-mixed",),
}


# Of a mixed precision the format in which frozen weights are used, whatever they are kept in.
USED_AS = {precision: dtype for dtype in ("bfloat16", "float16") for precision in PRECISIONS[dtype]}


# Models of ours that stand in for Stable Diffusion.
STAND_INS = ("mini", "tiny")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """A LoRA on the base model.

    Attributes:
        path: a file in kohya's, diffusers' or peft's layout.
        weight: factor on it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    path: FileName
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise UserError(f"model.loras: weight={self.weight} of {self.path} is no finite number")


@dataclass(frozen=True, kw_only=True)
class ControlNetSettings:
    """A ControlNet beside the pose one: it is frozen, and its residuals are added to those of the pose.

    Attributes:
        path: folder in diffusers' layout, hub id or file, as of `model.controlnet`.
        condition: what it is shown: edges that are found by OpenCV (`canny`), by HED (`softedge`) or by PiDiNet
            (`pidi`), `depth` by MiDaS, each of the frames that the poses come from; or `images` that are given.
        scale: factor on its residuals; 0: it rests.
        images: of `condition=images`: a picture for each frame of the subject's clip, a video or a folder.
        detector: folder or hub id with the weights of HED, PiDiNet or MiDaS.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    path: FileName
    condition: Condition
    scale: float = 1.0
    images: FileName | None = None
    detector: FileName = "lllyasviel/Annotators"

    def __post_init__(self) -> None:
        check_range(f"model.controlnets: scale of {self.path}", self.scale, least=0)
        if (self.images is not None) != (self.condition == "images"):
            raise UserError(
                f"model.controlnets: {self.path} has condition={self.condition} and images={self.images}: images are "
                "given with condition=images, and with no other"
            )


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which weights, and how they run.

    Attributes:
        name: what results are listed under.
        base: diffusers folder, hub id or single-file checkpoint (.safetensors, .ckpt, .pth).
        controlnet: likewise; null: the subfolder `controlnet` of base.
        controlnets: others beside it, whose residuals are added to its own.
        vae: likewise, in place of the base's own, which a single file may lack; null: the base's.
        variant: of the weights' file names in folders, such as fp16; null: plain, or the one that is there alone.
        configs: shipped configs that describe a single file, random weights, and `src.info`.
        random_seed: draw random weights instead of loading any; for tests and measurements.
        prediction_type: what the UNet predicts, where the scheduler's file is wrong or there is none (single files).
        zero_terminal_snr: whether the noise levels end without any signal, likewise.
        loras: fused into the base's weights, in this order.
        embeddings: files of textual inversions; the name of the file is the word of the prompt.
        clip_skip: last layers of the text encoder to leave out; 1 is what other programs call clip skip 2.
        group_norm: statistics over all frames of a `clip`, as ControlVideo has them, or over each `frame`.
        conditioning_scale: factor on the ControlNet's residuals.
        dtype: of the frozen weights; the trained ones are always float32. Below it, trainer.precision must be mixed.
            `auto`: that of the operations of trainer.precision, so that nothing is cast again in every evaluation.
        gradient_checkpointing: less memory for a quarter more time in training; `auto`: where memory needs it.
        offload: in sampling, weights wait in the machine's memory and visit the GPU block by block (the library's group
            offloading): seconds for gigabytes; `auto`: where they would take more than half of its free memory.
        channels_last: memory format of the convolutions.
        compile: in sampling, compile the layers that repeat at the first step, once for all frames, prompts and steps;
            again for another resolution. Of use on a GPU; on a CPU see experiments/SPEED.md.
        compile_training: the same in the fine-tune. It counts for nothing, as `gradient_checkpointing`, though results
            differ in rounding: what was learnt without it is not learnt again.
    """

    name: str = setting(counts="nothing")
    base: FileName = setting(counts="fine_tune")
    controlnet: FileName | None = setting(None, counts="fine_tune")
    controlnets: list[ControlNetSettings] = setting(default_factory=list, counts="fine_tune")
    vae: FileName | None = setting(None, counts="fine_tune")
    variant: str | None = setting(None, counts="fine_tune")
    configs: str = setting("sd15", counts="fine_tune")
    random_seed: int | None = setting(None, counts="fine_tune")
    prediction_type: PredictionType | None = setting(None, counts="fine_tune")
    zero_terminal_snr: bool | None = setting(None, counts="fine_tune")
    loras: list[LoraSettings] = setting(default_factory=list, counts="fine_tune")
    embeddings: list[FileName] = setting(default_factory=list, counts="fine_tune")
    clip_skip: int = setting(0, counts="fine_tune")
    group_norm: Literal["clip", "frame"] = setting("clip", counts="fine_tune")
    conditioning_scale: float = setting(1.0, counts="fine_tune")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("float32", counts="fine_tune")
    gradient_checkpointing: GradientCheckpointing = setting("auto", counts="nothing")
    offload: Offload = setting("auto", counts="nothing")
    channels_last: bool = setting(False, counts="fine_tune")
    compile: bool = setting(False, counts="sampling")
    compile_training: bool = setting(False, counts="nothing")

    def __post_init__(self) -> None:
        shipped_configs(self.configs)
        if self.offload is True and self.compile:
            raise UserError("model.offload=true moves the weights that model.compile=true compiles for: choose one")
        check_range("model.random_seed", self.random_seed, least=0, most=2**63 - 1)
        check_range("model.clip_skip", self.clip_skip, least=0)
        check_range("model.conditioning_scale", self.conditioning_scale, least=0)
        if sum(net.condition == "images" for net in self.controlnets) > 1:
            raise UserError(
                "model.controlnets: several have condition=images, and src.sample takes condition= once: give images "
                "to one of them"
            )
        if self.random_seed is not None and self.vae is not None:
            raise UserError("model.vae is not read where model.random_seed draws all weights: set one of them to null")

    def in_precision(self, precision: str) -> "ModelSettings":
        """The same with the dtype that `dtype=auto` is for a `trainer.precision`."""
        return replace(self, dtype=USED_AS.get(str(precision), "float32")) if self.dtype == "auto" else self

    def config_folder(self) -> Path | None:
        """The local folder whose configs describe the model, if it is one with a ControlNet."""
        folder = Path(self.base)
        return folder if self.random_seed is None and (folder / "controlnet" / "config.json").is_file() else None


def weights_identity(settings: ModelSettings) -> list[Any]:
    """What tells the weights that settings name from others of that name.

    Of local files and folders name, size and time of each file; of a hub id, the id.
    """
    names = [settings.base, settings.controlnet, settings.vae]
    names += [*(lora.path for lora in settings.loras), *settings.embeddings, *(n.path for n in settings.controlnets)]
    return [_files_of(name) for name in names]


def _files_of(weights: str | None) -> Any:
    if weights is None or not Path(weights).exists():
        return weights
    path = Path(weights)
    return fingerprint(sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path])


def check_scales(settings: ModelSettings, scales: list[float] | None) -> None:
    """Refuse `sampling.controlnet_scales` that are not one for each ControlNet beside the pose one."""
    if scales is not None and len(scales) != len(settings.controlnets):
        raise UserError(
            f"sampling.controlnet_scales={scales} has {len(scales)} factors for {len(settings.controlnets)} "
            "model.controlnets: give one for each, or null for their own"
        )


def refuse_controlnets(settings: ModelSettings, why: str) -> None:
    """Raise a UserError where there are ControlNets beside the pose one, of a command that cannot feed them."""
    if settings.controlnets:
        paths = ", ".join(net.path for net in settings.controlnets)
        raise UserError(f"model.controlnets ({paths:.200}): {why}; leave it out, the pose ControlNet stays")


def check_precision(dtype: str, precision: str) -> None:
    """Refuse `model.dtype` with a `trainer.precision` that would fail in the first step or round what is trained.

    Raises:
        UserError: names the precisions that go with it.
    """
    allowed = PRECISIONS[dtype]
    if str(precision) not in (*allowed, *(("32",) if "32-true" in allowed else ())):
        raise UserError(
            f"model.dtype={dtype} cannot go with trainer.precision={precision}: the trained weights are float32 and "
            f"are kept so; give trainer.precision={' or '.join(allowed)}"
        )


def model_warning(settings: ModelSettings, *, rendered: bool) -> str | None:
    """What a user should know before time is spent on this model, if anything.

    Args:
        rendered: the subject is a drawn person, not a filmed one.
    """
    if settings.random_seed is not None:
        return f"model={settings.name} has random weights: it shows that all runs, and shows no one"
    if settings.name == "mini" and not rendered:
        return "model=mini has seen drawn people alone: of a filmed one expect a coarse likeness; use model=sd15"
    return None


def stand_in(settings: ModelSettings) -> str | None:
    """Why no published number is of these weights, in the words of results; None: nothing is known against them."""
    return f"model={settings.name}" if settings.random_seed is not None or settings.name in STAND_INS else None
