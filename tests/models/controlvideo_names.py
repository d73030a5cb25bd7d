"""A backbone's tensors as the public ControlVideo model calls them."""

from torch import Tensor

from src.models.backbone import VideoBackbone


def controlvideo_state_dict(backbone: VideoBackbone) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of `load_controlvideo_state_dict`: (UNet state, ControlNet state) under the public names."""
    states = []
    for network in (backbone.unet, backbone.controlnet):
        renamed = {name.replace(".attn1.processor.temporal.", "."): t for name, t in network.state_dict().items()}
        states.append({n: t[..., None, None] if n.endswith("conv_temp.weight") else t for n, t in renamed.items()})
    return states[0], states[1]
