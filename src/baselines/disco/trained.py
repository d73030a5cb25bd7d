"""What a fine-tune of DisCo trained, as one file of tensors under the model's names."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from src.baselines.disco.fine_tune_module import DisCoFineTuneModule
from src.common.atomic import atomic_path
from src.common.errors import DamagedFile
from src.models.weights_file import read_tensors, require_finite


def save_trained(path: Path, module: DisCoFineTuneModule) -> None:
    """Write the trained tensors as safetensors, whole or not at all; 1.6 GB with Stable Diffusion's sizes.

    Raises:
        UserError: one is not finite.
    """
    state = {name: p.detach().cpu().contiguous() for name, p in module.trained().items()}
    require_finite(state, "what was fine-tuned", "it has diverged: take a lower method.fine_tune.learning_rate")
    with atomic_path(path) as temporary:
        save_file(state, temporary)


@torch.no_grad()
def load_trained(path: Path, module: DisCoFineTuneModule) -> None:
    """Give the model what `save_trained` wrote of one with the same settings.

    Raises:
        DamagedFile: it holds other tensors.
    """
    found, expected = read_tensors(str(path), option="the fine-tune"), module.trained()
    if {name: t.shape for name, t in found.items()} != {name: p.shape for name, p in expected.items()}:
        raise DamagedFile(f"{path} holds other tensors than this fine-tune trains: move it away to train again")
    for name, parameter in expected.items():
        parameter.copy_(found[name])
