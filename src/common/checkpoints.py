"""Lightning's checkpoints as files that are whole or absent, and that are data."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from src.common.arrays import check_packed
from src.common.atomic import atomic_path
from src.common.errors import ResourceError, UserError, explained

log = logging.getLogger(__name__)
# Of what Lightning puts into a checkpoint, what going on from it needs.
_NEEDED = {"state_dict": dict, "optimizer_states": list, "loops": dict, "global_step": int, "callbacks": dict}


class WholeCheckpoints(TorchCheckpointIO):
    """Writes them as every other artefact is written: a full disk leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            ResourceError: the system refuses.
        """
        # Through Python's own file: PyTorch's writer would not say why it failed.
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)


def usable(path: Path) -> Path | None:
    """The path of a checkpoint to go on from; None where there is none, or a damaged or refused one, with a warning.

    Raises:
        ResourceError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        check_packed(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        faults = [name for name, kind in _NEEDED.items() if not isinstance(checkpoint.get(name), kind)]
    except ResourceError:
        raise
    except UserError as error:
        log.warning("the checkpoint %s: training begins anew", error)
        return None
    except Exception as error:
        # Whatever the loader meets in a file that may hold anything.
        if (known := explained(error, path, "read")) is not None:
            raise known from error
        faults = [type(error).__name__]
    if not faults:
        return path
    log.warning("the checkpoint %s is damaged (%s): training begins anew", path, faults[0])
    return None
