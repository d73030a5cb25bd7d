"""What poses and prompts bring to every evaluation of a clip, computed once for all its timesteps.

Dimensions: B clips, P prompts a clip, F frames, C channels, h×w latent cells, T text tokens, E text channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from src.models.attention import KeysValues


@dataclass(frozen=True)
class Control:
    """What a ControlNet beside the pose one is shown.

    Attributes:
        number: which of them.
        embedding_BFChw: its embedding of its condition images.
        scale: factor on its residuals, not 0.
    """

    number: int
    embedding_BFChw: Tensor
    scale: float


@dataclass(frozen=True)
class Conditioning:
    """Made by `VideoBackbone.prepare`; belongs to the weights that it was made with.

    Attributes:
        pose_embedding_BFChw: the ControlNet's embedding of the pose images.
        text_XTE: encoded prompts, X = P·B: the first prompt of every clip, then the second.
        keys_values: of each attention to text, in the order of the networks' modules; their first axis is X.
        scale: factor on the ControlNet's residuals; None: the backbone's own.
        controls: of the ControlNets beside the pose one that take part, in their order.
        num_prompts: P; more than one share latents and poses, as the branches of classifier-free guidance do.
    """

    pose_embedding_BFChw: Tensor
    text_XTE: Tensor
    keys_values: Sequence[KeysValues]
    num_prompts: int = 1
    scale: float | None = None
    controls: Sequence[Control] = ()

    def frames(self, indices: Tensor | slice) -> "Conditioning":
        """The same for some of the frames."""
        controls = [replace(c, embedding_BFChw=c.embedding_BFChw[:, indices]) for c in self.controls]
        return replace(self, pose_embedding_BFChw=self.pose_embedding_BFChw[:, indices], controls=controls)

    def prompt(self, index: int) -> "Conditioning":
        """The same for one of the prompts."""
        size = len(self.text_XTE) // self.num_prompts
        rows = slice(index * size, (index + 1) * size)
        keys_values = [(k[rows], v[rows], mask) for k, v, mask in self.keys_values]
        return replace(self, text_XTE=self.text_XTE[rows], keys_values=keys_values, num_prompts=1)
