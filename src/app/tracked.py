"""W&B's run of a fine-tune, which ends as the fine-tune does."""

import wandb
from lightning.pytorch.loggers import WandbLogger


class TrackedFineTune(WandbLogger):
    """Ends its run as failed where the fit did not come to its end; one that did goes on, to be shown a video."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if status != "success":
            wandb.finish(exit_code=1)
