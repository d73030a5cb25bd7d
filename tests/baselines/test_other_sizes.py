"""`match_reference` derives everything from a file: files of other widths, heads and lengths, made of our own outputs.

That the outputs are the public code's is for `test_match_reference.py` to say; here that none of its sizes is assumed.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.baselines import disco_reference, magicanimate_reference
from tests.baselines.match_reference import Reference, differences
from tests.baselines.toys import (
    CLIP,
    UNET,
    VAE,
    magicanimate_parts,
    public_disco_names,
    public_motion_names,
    toy_disco,
)

SIZES = {**{name: UNET[name] for name in UNET if name != "attention_head_dim"}, "heads": UNET["attention_head_dim"]}


def completed(path: Path, sizes: dict[str, Any], tensors: dict[str, torch.Tensor], outputs: Any) -> Path:
    """A reference file of these weights and inputs, with what our model makes of them as its outputs."""
    metadata = {name: str(value) for name, value in sizes.items()}
    stored = {name: t.detach().float().contiguous() if t.is_floating_point() else t for name, t in tensors.items()}
    save_file({name: t.clone() for name, t in stored.items()}, path, metadata)
    with torch.no_grad():
        ours = outputs(Reference(path, torch.float64))
    made = {f"out.{name}": t.float() if t.is_floating_point() else t for name, t in ours.items()}
    save_file({name: t.contiguous().clone() for name, t in (stored | made).items()}, path, metadata)
    return path


@pytest.mark.parametrize(
    ("clips", "num_frames", "window", "heads"), [(1, 28, 8, 2), (2, 5, 4, 2), (1, 5, 4, (1, 2, 4, 8))]
)
def test_magicanimate(tmp_path, clips, num_frames, window, heads):
    unet, motion, encoder, controlnet = magicanimate_parts(sizes={**UNET, "attention_head_dim": heads})
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tensors = {
        **{f"unet.{name}": t for name, t in unet.state_dict().items()},
        **{f"motion.{name}": t for name, t in public_motion_names(motion).items()},
        **{f"appearance.{name}": t for name, t in encoder.unet.state_dict().items()},
        **{f"controlnet.{name}": t for name, t in controlnet.state_dict().items()},
        "in.latents": draw(clips, 4, num_frames, 8, 8),
        "in.reference_latents": draw(clips, 4, 8, 8),
        "in.condition_uint8": torch.randint(256, (num_frames, 64, 64, 3), generator=generator).to(torch.uint8),
        "in.text_uncond_cond": draw(2, 7, 32),
        "in.timestep": torch.tensor([301]),
    }
    sizes = {**SIZES, "heads": heads, "conditioning_embedding_out_channels": (8, 8, 16, 16)}
    sizes |= {"window": window, "overlap": 2, "steps": 2, "guidance_scale": 3.5}
    path = completed(tmp_path / "x.safetensors", sizes, tensors, magicanimate_reference.outputs)
    found = differences(path)
    assert found["sampled"] < 1e-4 and max(found.values()) < 1e-4
    out = Reference(path, torch.float32).part("out.")
    assert out["sampled"].shape == (clips, 4, num_frames, 8, 8)
    assert sum(name.startswith("step0_window") for name in out) == len(out["windows"]) > 1
    assert out["step0_window0"].shape[0] == 2 * clips and out["noise_pred_cond"].shape[2] == window


def test_disco(tmp_path):
    model = toy_disco()
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tensors = {
        **public_disco_names(model),
        **{"in.latents": draw(2, 4, 8, 8), "in.background_latents": draw(2, 4, 8, 8)},
        **{
            "in.pose": draw(2, 3, 64, 64),
            "in.background_image": draw(2, 3, 64, 64),
            "in.foreground": draw(2, 3, 32, 32),
        },
        "in.timestep": torch.tensor([301]),
    }
    sizes = {**SIZES, "conditioning_embedding_out_channels": (16, 32, 96, 256), "clip": CLIP, "vae": VAE}
    sizes |= {"steps": 2, "guidance_scale": 2.0, "guidance_scale_zero_context": 4.0}
    path = completed(tmp_path / "x.safetensors", sizes, tensors, disco_reference.outputs)
    found = differences(path)
    assert max(found.values()) < 1e-5
    assert Reference(path, torch.float32).part("out.")["controlnet_mid"].shape[0] == 4
