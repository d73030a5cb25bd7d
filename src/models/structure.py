"""What kind of model a checkpoint holds, read from configs or tensor shapes alone, and whether parts belong together.

Refusals come before any weight is loaded: each is one line that says what was found and what would fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.common.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]
_INPUT_KINDS = {5: "depth-to-image", 7: "upscaling", 8: "instruction-editing", 9: "inpainting"}
_FAMILIES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL's refiner"}
# Settings of diffusers' UNets and ControlNets that ask for an input which nothing here gives.
_OTHER_INPUTS = {
    "class_embed_type": "an image or a class beside the text",
    "num_class_embeds": "a class beside the text",
    "encoder_hid_dim": "another text encoder's embedding",
    "time_cond_proj_dim": "its guidance, as models of few steps do (latent consistency)",
    "dual_cross_attention": "a second text",
}
_UNET = "model.diffusion_model."
_CROSS_ATTENTION = re.compile(r"(input|down)_blocks\..*attn2\.to_k\.weight$")


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Of a UNet or a ControlNet, what decides which others it works with.

    Attributes:
        in_channels: of its input; text_width: of the text that it attends to; width: channels of its first level.
        blocks: layers on the way down, with the ones between levels.
        is_xl: it also takes a pooled text and sizes, as Stable Diffusion XL does.
    """

    in_channels: int
    text_width: int
    width: int
    blocks: int
    is_xl: bool

    @property
    def family(self) -> str:
        """The model family by its public name, with the figure that tells."""
        known = "Stable Diffusion XL" if self.is_xl or self.text_width == 2048 else _FAMILIES.get(self.text_width)
        return f"{known or 'a model'} (text width {self.text_width})"


def text_width_of(config: Mapping[str, Any]) -> int:
    """Channels of the text that a UNet or a ControlNet attends to; its config may say it once or for each level."""
    width = config.get("cross_attention_dim", 1280)
    return width if isinstance(width, int) else width[0]


def layers_per_level(config: Mapping[str, Any]) -> list[int]:
    """Residual blocks of each level on the way down, which its config may say once."""
    layers = config.get("layers_per_block", 2)
    return [layers] * len(config["block_out_channels"]) if isinstance(layers, int) else list(layers)


def structure_of_config(config: Mapping[str, Any]) -> Structure:
    """From a diffusers config of a UNet or a ControlNet."""
    channels = config["block_out_channels"]
    return Structure(
        in_channels=config.get("in_channels", 4),
        text_width=text_width_of(config),
        width=channels[0],
        blocks=sum(layers_per_level(config)) + len(channels) - 1,
        is_xl=config.get("addition_embed_type") is not None,
    )


def check_inputs(config: Mapping[str, Any], where: str) -> None:
    """Refuse a UNet or a ControlNet that asks for more than latents, timestep and text, or lacks what the method uses.

    Args:
        config: of diffusers.
        where: what it is called in messages.
    """
    wanted = "give one of the layout of Stable Diffusion 1.x"
    for key, other in _OTHER_INPUTS.items():
        if config.get(key):
            raise UserError(f"{where} takes {other} ({key}={config[key]!s:.40}): {wanted}")
    if (channels := config.get("conditioning_channels", 3)) != 3:
        raise UserError(f"{where} takes images of {channels} channels (conditioning_channels): {wanted}")
    only_cross = config.get("only_cross_attention", False)
    if any(only_cross) if isinstance(only_cross, (list, tuple)) else only_cross:
        raise UserError(f"{where} has blocks without self-attention (only_cross_attention={only_cross}): {wanted}")
    if config.get("mid_block_type", "UNetMidBlock2DCrossAttn") is None:
        raise UserError(f"{where} has no middle block (mid_block_type=null): {wanted}")


def structure_of_file(shapes: Shapes, where: str) -> Structure:
    """From the tensors of a single-file checkpoint in Stable Diffusion's original layout.

    Raises:
        UserError: it holds something else, which is named.
    """
    if f"{_UNET}input_blocks.0.0.weight" not in shapes:
        raise UserError(f"{where} is {_kind(shapes)}: expected a Stable Diffusion checkpoint with its UNet")
    unet = {name.removeprefix(_UNET): shape for name, shape in shapes.items() if name.startswith(_UNET)}
    # The one input that only tensors tell of: the library passes them over, and samples without what they ask for.
    guidance = next((shape for name, shape in unet.items() if name.endswith(".cond_proj.weight")), None)
    check_inputs({} if guidance is None else {"time_cond_proj_dim": guidance[-1]}, f"the UNet of {where}")
    return _structure(unet, where)


def structure_of_controlnet_file(shapes: Shapes, where: str) -> Structure:
    """From the tensors of a ControlNet in one file: the original names, with or without prefix, or diffusers' own.

    Raises:
        UserError: it holds something else, which is named.
    """
    net = {name.removeprefix("control_model."): shape for name, shape in shapes.items()}
    if "difference" in net or "lora_controlnet" in net:
        kind = "the difference to a ControlNet" if "difference" in net else "a Control-LoRA"
        raise UserError(f"{where} holds {kind}: give the whole ControlNet, such as control_v11p_sd15_openpose.pth")
    if not any(name in net for name in ("input_hint_block.0.weight", "controlnet_cond_embedding.conv_in.weight")):
        raise UserError(f"{where} is {_kind(shapes)}: expected a ControlNet, such as control_v11p_sd15_openpose.pth")
    return _structure(net, where)


def holds_vae(shapes: Shapes) -> bool:
    """Whether a single-file checkpoint has a VAE in it."""
    return any(name.startswith("first_stage_model.encoder.") for name in shapes)


def check_base(structure: Structure, text_width: int, latent_channels: int, where: str) -> None:
    """Refuse a UNet that is not a text-to-image one, or that the text encoder or the VAE does not suit.

    Args:
        structure: of the UNet.
        text_width: of the text encoder beside it.
        latent_channels: of the VAE.
        where: what it is called in messages.
    """
    wanted = "give a text-to-image checkpoint of Stable Diffusion 1.x"
    if structure.is_xl:
        raise UserError(f"{where} is {structure.family}: {wanted}")
    if structure.in_channels != latent_channels:
        kind = _INPUT_KINDS.get(structure.in_channels, "different")
        raise UserError(
            f"{where} is {'an' if kind[0] in 'aeiou' else 'a'} {kind} model ({structure.in_channels} input channels), "
            f"expected the {latent_channels} of the VAE's latents: {wanted}"
        )
    if structure.text_width != text_width:
        raise UserError(f"{where} is {structure.family}, expected text width {text_width}: {wanted}")


def check_same_sizes(found: Structure, expected: Structure, where: str) -> None:
    """Refuse a single file whose UNet is not built as the shipped configs say, by which it would be read."""
    if (found.width, found.blocks) != (expected.width, expected.blocks):
        raise UserError(
            f"{where} has {found.blocks} blocks from {found.width} channels, expected {expected.blocks} from "
            f"{expected.width}: a distilled or another model; bring it as a folder in diffusers' layout"
        )


def check_controlnet(found: Structure, unet: Structure, where: str) -> None:
    """Refuse a ControlNet that was made for another family than the UNet's."""
    if found != unet:
        suits = "lllyasviel/control_v11p_sd15_openpose" if unet.text_width == 768 else "one trained for this base"
        sizes = f"{found.in_channels} input channels, {found.blocks} blocks from {found.width} channels"
        ours = f"{unet.in_channels} input channels, {unet.blocks} blocks from {unet.width} channels"
        raise UserError(
            f"{where} is a ControlNet for {found.family}, {sizes}; the base model is {unet.family}, {ours}: "
            f"give {suits}"
        )


def _structure(names: Shapes, where: str) -> Structure:
    """Of a network's own names, original or diffusers'."""
    first = names.get("input_blocks.0.0.weight", names.get("conv_in.weight"))
    text = [shape for name, shape in names.items() if _CROSS_ATTENTION.match(name)]
    if first is None or len(first) != 4 or not text or len(text[0]) != 2:
        raise UserError(f"{where} has no text-conditioned UNet of Stable Diffusion's layout in it")
    original = {name.split(".")[1] for name in names if name.startswith("input_blocks.")}
    ours = [re.match(r"down_blocks\.\d+\.(resnets|downsamplers)\.\d+\.", name) for name in names]
    return Structure(
        in_channels=first[1],
        text_width=text[0][1],
        width=first[0],
        blocks=len(original) - 1 if original else len({match[0] for match in ours if match}),
        is_xl=any(name.startswith(("label_emb.", "add_embedding.")) for name in names),
    )


def _kind(shapes: Shapes) -> str:
    """The name of what a file holds, for a message."""
    signs = {
        "a LoRA (model.loras takes it)": ("lora_unet_", "lora_te_", "unet.down_blocks", "lora_te1_"),
        "a ControlNet (model.controlnet takes it)": (
            "control_model.",
            "controlnet_cond_embedding.",
            "input_hint_block",
        ),
        "a VAE alone (model.vae takes it)": ("encoder.conv_in.", "first_stage_model.encoder.conv_in."),
        "a UNet alone in diffusers' layout (give its whole folder)": ("down_blocks.0.",),
        "a textual inversion (model.embeddings takes it)": ("emb_params", "string_to_param", "clip_g", "clip_l"),
        "a PoseCrafter adapter": ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor",),
        "a transformer such as Flux or Stable Diffusion 3": (
            "double_blocks.",
            "model.diffusion_model.joint_blocks.",
            "model.diffusion_model.double_blocks.",
        ),
    }
    # The longest sign first: some names begin like others.
    ordered = sorted(
        ((sign, kind) for kind, all_signs in signs.items() for sign in all_signs), key=lambda s: -len(s[0])
    )
    for sign, kind in ordered:
        if any(name.startswith(sign) for name in shapes):
            return kind
    first = ", ".join(sorted(shapes)[:2]) or "none"
    return f"of an unknown kind (its first tensors: {first:.100})"
