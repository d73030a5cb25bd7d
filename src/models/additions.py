"""What people put on a base model: LoRAs, fused into its weights, and textual inversions, words of the prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from src.common.digests import sha256
from src.common.errors import UserError
from src.models.folders import clear_errors
from src.models.image_model import TextToImage
from src.models.settings import LoraSettings
from src.models.structure import text_width_of
from src.models.weights_file import is_weights_file, read_tensors

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

_TO_TEXT = (
    "attn2_to_k.lora_down.weight",
    "attn2.to_k.lora_A.weight",
    "attn2.to_k.lora.down.weight",
    "attn2.processor.to_k_lora.down.weight",
)


def add_to(model: TextToImage, *, loras: Sequence[LoraSettings], embeddings: Sequence[str]) -> None:
    """Fuse LoRAs into the UNet and the text encoder and teach the tokenizer words, in place.

    What was added is kept in `model.additions`, for the adapter to remember.

    Raises:
        UserError: a file that is not there, is no LoRA or embedding, or was made for another family.
    """
    if not loras and not embeddings:
        return
    from diffusers import StableDiffusionPipeline  # imports many models: only where it is needed

    # Nothing but its loaders is used, and they ask for less than its signature does.
    parts: dict[str, Any] = {
        "vae": model.vae,
        "text_encoder": model.text_encoder,
        "tokenizer": model.tokenizer,
        "unet": model.unet,
        "scheduler": model.scheduler,
        "safety_checker": None,
        "feature_extractor": None,
    }
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    for lora in loras:
        _fuse_lora(pipeline, lora)
    words = [_add_word(pipeline, path) for path in embeddings]
    for network in (model.unet, model.text_encoder):
        network.eval().requires_grad_(False)
    model.additions |= {
        "loras": [{"file": Path(lora.path).name, "sha256": sha256(lora.path), "weight": lora.weight} for lora in loras],
        "embeddings": [{"word": word, "sha256": sha256(path)} for word, path in zip(words, embeddings, strict=True)],
    }


def _fuse_lora(pipeline: "StableDiffusionPipeline", lora: LoraSettings) -> None:
    """W + weight · alpha / rank · up · down, in every layer that the file names."""
    option = "model.loras"
    tensors = _local_tensors(lora.path, option)
    widths = {tensor.shape[1] for name, tensor in tensors.items() if name.endswith(_TO_TEXT) and tensor.ndim >= 2}
    ours = text_width_of(pipeline.unet.config)
    if widths - {ours}:
        raise UserError(
            f"{option}: {lora.path} was made for text width {max(widths)}, the base model has {ours}: give a LoRA of "
            "its family (768: Stable Diffusion 1.x)"
        )
    with clear_errors(option, lora.path, "a LoRA of Stable Diffusion 1.x"):
        pipeline.load_lora_weights(tensors, adapter_name="lora")
        networks = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
        touched = [name for name, network in networks.items() if _has_lora(network)]
        if touched:
            pipeline.fuse_lora(components=touched, lora_scale=lora.weight, safe_fusing=True)
        pipeline.unload_lora_weights()
    if not touched:
        raise UserError(f"{option}: {lora.path} fits no layer of this model: expected a LoRA of Stable Diffusion 1.x")


def _add_word(pipeline: "StableDiffusionPipeline", path: str) -> str:
    """Load a textual inversion; returns the word that stands for it in a prompt: the file's name, or the one inside."""
    option = "model.embeddings"
    tensors = _local_tensors(path, option)
    vectors = next(iter(tensors.values())) if len(tensors) == 1 else None
    width = pipeline.text_encoder.config.hidden_size
    if vectors is None or vectors.ndim > 2 or vectors.shape[-1] != width:
        found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:3])
        raise UserError(
            f"{option}: {path} holds {found or 'no tensors'}: expected one textual inversion of width {width}, as of "
            "Stable Diffusion 1.x"
        )
    # Collections of textual inversions name every file alike and the word inside; everyone else names the file.
    inside = next(iter(tensors))
    word = inside if Path(path).stem == "learned_embeds" else Path(path).stem
    with clear_errors(option, path, "a textual inversion"):
        pipeline.load_textual_inversion({word: vectors.float()}, token=word)
    return word


def _local_tensors(path: str, option: str) -> dict[str, Tensor]:
    if not is_weights_file(path):
        raise UserError(f"{option}: {path} is no file of weights: give a .safetensors, .pt or .bin file")
    return read_tensors(path, option=option)


def _has_lora(network: nn.Module) -> bool:
    return any("lora_" in name for name, _ in network.named_modules())
