"""Memory that a setting needs, by count: the operations run on tensors without content, and what lives is added up.

Frames and the frames of a chunk enter linearly, since attention never holds its matrix; so a few counts serve for all
lengths. Not in the count is what a card's own libraries take (`RESERVE_GIB`).
"""

import contextlib
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPTextConfig, CLIPTextModel

from src.common.system import GIB
from src.models.backbone import VideoBackbone
from src.models.folders import part_config, vae_class
from src.models.image_model import ENCODE_CHUNK, vae_downsampling
from src.models.offload import most_resident, num_bytes
from src.models.settings import USED_AS, ModelSettings
from src.models.shipped import from_config, shipped_configs
from src.models.structure import text_width_of

RESERVE_GIB = 0.8  # of CUDA's context and the workspaces of convolutions
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Adam holds two moments beside the weight and its gradient.
TRAINED_BYTES = 16
CARDS_GIB = (6, 8, 12, 24)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What decides how much is held at once.

    Attributes:
        batch_frames: n, of a training step; gradient_checkpointing, dtype: as of `ModelSettings`.
        frame_chunk: of sampling; None: all frames.
        num_frames: generated at once, the inserted reference included.
        offload: weights wait in the machine's memory while it samples (`src/models/offload.py`).
    """

    batch_frames: int = 8
    gradient_checkpointing: bool = False
    dtype: str = "float32"
    frame_chunk: int | None = 8
    num_frames: int = 101
    offload: bool = False


@dataclass(frozen=True, kw_only=True)
class Count:
    """Parameters of a model, and bytes for each frame at one resolution and precision.

    Attributes:
        frozen, trained: parameters of the backbone; encoders: of VAE and text encoder, always float32.
        resident: of the backbone's weights the share that is there at once where the others wait.
        training: of a training step, with gradient checkpointing or without.
        sampling: of each generated frame, guided, prompts in turn as they are where memory is short (`plan_chunks`);
            sampling_chunk: of each frame of a chunk besides.
        encoding, decoding: of each frame in the VAE.
    """

    frozen: int
    trained: int
    encoders: int
    resident: float
    training: dict[bool, float]
    sampling: float
    sampling_chunk: float
    encoding: float
    decoding: float

    def stages(self, work: Workload) -> dict[str, float]:
        """GiB that each stage needs."""
        frozen, encoders = self.frozen * BYTES[work.dtype], 4 * self.encoders
        chunk = work.num_frames if work.frame_chunk is None else min(work.frame_chunk, work.num_frames)
        filming = frozen + 4 * self.trained
        # Of the VAE a layer is there at a time, of the text encoder none.
        filming = self.resident * filming if work.offload else filming + encoders
        stages = {
            "encoding": encoders + ENCODE_CHUNK * self.encoding,
            # The encoders have gone back by then.
            "training": frozen
            + TRAINED_BYTES * self.trained
            + work.batch_frames * self.training[work.gradient_checkpointing],
            "sampling": filming + work.num_frames * self.sampling + chunk * self.sampling_chunk,
            # A frame at a time, however many pass through a layer in sampling.
            "decoding": filming + self.decoding,
        }
        return {name: round(value / GIB + RESERVE_GIB, 2) for name, value in stages.items()}


# From what is quickest to what is leanest; results differ in rounding alone, but for the batch of a training step.
_LEAN = {"model.gradient_checkpointing": True, "model.dtype": "bfloat16", "sampling.frame_chunk": 1}
_WAITING = {"model.offload": True}
LADDER: tuple[dict[str, Any], ...] = (
    {"model.gradient_checkpointing": False, "model.dtype": "float32", "sampling.frame_chunk": 8},
    {"model.gradient_checkpointing": True, "model.dtype": "float32", "sampling.frame_chunk": 8},
    {"model.gradient_checkpointing": True, "model.dtype": "float32", "sampling.frame_chunk": 2},
    _LEAN,
    _LEAN | _WAITING,
    _LEAN | _WAITING | {"data.batch_frames": 4},
    _LEAN | _WAITING | {"data.batch_frames": 2},
)


def settings_that_fit(count: Count, work: Workload) -> dict[str, dict[str, Any] | None]:
    """For each size of card the quickest settings that fit it, as dotted keys, and the frames that it holds at once.

    Where no setting holds `work.num_frames`, the leanest that trains and holds most of them; None: none trains.
    """
    found: dict[str, dict[str, Any] | None] = {}
    for card in CARDS_GIB:
        found[f"{card} GB"] = None
        for step in LADDER:
            tried = replace(work, **{key.rpartition(".")[2]: value for key, value in step.items()})
            frames = _frames_at_once(count, tried, card)
            if frames == 0 or (frames < work.num_frames and not _LEAN.items() <= step.items()):
                continue
            fits = {**step, "frames_at_once": frames}
            best = found[f"{card} GB"]
            if best is None or frames > best["frames_at_once"]:
                found[f"{card} GB"] = fits
            if frames == work.num_frames:
                break
    return found


def _frames_at_once(count: Count, work: Workload, card: float) -> int:
    """Frames, up to those of `work`, that a card of so many GiB generates at once; 0 where it cannot train at all."""
    needs = count.stages(replace(work, num_frames=0, frame_chunk=work.frame_chunk or 1))
    if max(needs[stage] for stage in ("encoding", "training")) > card:
        return 0
    fitting = (n for n in range(work.num_frames, 0, -1) if _filming(count, replace(work, num_frames=n)) <= card)
    return next(fitting, 0)


def _filming(count: Count, work: Workload) -> float:
    stages = count.stages(work)
    return max(stages["sampling"], stages["decoding"])


def count_memory(settings: ModelSettings, *, resolution: int, precision: str) -> Count:
    """Count one training step, two sampling steps and the VAE; some seconds of one core for each.

    Args:
        settings: of a model with a local folder or shipped configs; no weight is read.
        resolution: of a square frame.
        precision: `trainer.precision`; mixed ones are counted as bfloat16.
    """
    folder = settings.config_folder() or shipped_configs(settings.configs)
    cast = torch.bfloat16 if precision in USED_AS else None  # float16 is as large
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True), _Living() as living:
        warnings.simplefilter("ignore")
        vae = from_config(vae_class(part_config(str(folder), "vae", option="model.vae"), str(folder)), folder / "vae")
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(folder / "text_encoder")))
        unet = from_config(UNet2DConditionModel, folder / "unet")
        controlnet = from_config(ControlNetModel, folder / "controlnet")
        # Those beside it are of its sizes: the loader refuses others.
        beside = [from_config(ControlNetModel, folder / "controlnet") for _ in settings.controlnets]
        scales = [1.0] * len(beside)
        backbone = VideoBackbone(unet, controlnet, beside=beside, scales=scales, group_norm=settings.group_norm)
        trained = backbone.num_trainable()
        step = _step(backbone, resolution // vae_downsampling(vae), resolution, cast)
        training = {}
        for checkpointing in (True, False):
            if checkpointing:
                unet.enable_gradient_checkpointing()
                controlnet.enable_gradient_checkpointing()
            else:
                unet.disable_gradient_checkpointing()
                controlnet.disable_gradient_checkpointing()
            backbone.train()
            # The gradients themselves are counted with the trained parameters.
            training[checkpointing] = max(0, living.peak_of(lambda: step(2, None).backward()) - 4 * trained) / 2
            backbone.zero_grad(set_to_none=True)
        backbone.eval()
        with torch.no_grad():
            mark = living.now
            # Each of those behind it finds the keys and values of two prompts that the one before left.
            step(2, 1, 2)
            long, short = (living.peak_of(lambda f=frames: step(f, 1, 2), beyond=mark) for frames in (3, 2))
            frame = vae.config.in_channels, resolution, resolution
            encoding = living.peak_of(lambda: vae.encode(torch.empty(1, *frame)))
            cells = resolution // vae_downsampling(vae)
            decoding = living.peak_of(lambda: vae.decode(torch.empty(1, unet.config.in_channels, cells, cells)))
    return Count(
        frozen=sum(p.numel() for p in backbone.parameters()) - trained,
        resident=most_resident([unet, controlnet, *beside]) / num_bytes(backbone),
        trained=trained,
        encoders=sum(p.numel() for network in (vae, text) for p in network.parameters()),
        training=training,
        sampling=max(0, long - short),
        sampling_chunk=max(0, short - 2 * (long - short)),
        encoding=encoding,
        decoding=decoding,
    )


def _step(backbone: VideoBackbone, cells: int, resolution: int, cast: torch.dtype | None) -> Callable[..., Tensor]:
    """One evaluation of the backbone on so many frames, as a scalar; of two prompts in turn (`plan_chunks`)."""
    width, channels = text_width_of(backbone.unet.config), backbone.unet.config["in_channels"]

    def step(num_frames: int, frame_chunk: int | None, num_prompts: int = 1) -> Tensor:
        latents_1FChw = torch.empty(1, num_frames, channels, cells, cells)
        # Drawn a few at a time, they are never all there.
        poses_1FCHW = torch.empty(1, 1, 3, resolution, resolution).expand(1, num_frames, -1, -1, -1)
        with backbone.chunked(frame_chunk), _autocast(cast):
            with torch.no_grad():
                texts = [torch.empty(1, 77, width)] * num_prompts
                conditioning = backbone.prepare(poses_1FCHW, *texts, conditions=[poses_1FCHW] * len(backbone.beside))
            prompts = [conditioning.prompt(index) for index in range(num_prompts)]
            noise = torch.stack(backbone.in_turn(latents_1FChw, 1, prompts))
        return noise.float().square().mean()

    return step


@contextlib.contextmanager
def _autocast(dtype: torch.dtype | None) -> Iterator[None]:
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        yield


class _Living(TorchDispatchMode):
    """Bytes of all tensors made within that are still alive, and their highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Two that make nothing, which tensors without content are slow to do: a quarter of the time of a count.
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        if func is torch.ops.aten.native_batch_norm.out and isinstance(args[0], FakeTensor):
            return kwargs["out"], kwargs["save_mean"], kwargs["save_invstd"]
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def peak_of(self, run: Callable[[], Any], *, beyond: int | None = None) -> int:
        """The most that `run` held beyond some bytes; None: what was there before."""
        # What waits for the collector would be freed meanwhile.
        gc.collect()
        self.peak = self.now
        beyond = self.now if beyond is None else beyond
        run()
        return self.peak - beyond

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
