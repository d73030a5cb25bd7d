"""Training of the miniature keypoint detector.

Dimensions: B frames, C channels, S pixels a side, K keypoints.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from src.miniature.common import PoolModule
from src.miniature.pools import PeoplePool
from src.pose.extractors.mini import KeypointNet
from src.pose.keypoints import PARTS


class KeypointsModule(PoolModule):
    """L1 of the coordinates of seen keypoints, and binary cross-entropy of which are seen.

    Brightness, contrast and noise vary, since the judge is to look at generated pictures as well.

    Args:
        net: untrained.
        visibility_weight: of the cross-entropy; coordinates are in units of the frame.
        jitter: largest relative change of contrast, largest shift of brightness, standard deviation of noise.
        settings: see `StepSettings`.
    """

    def __init__(
        self,
        train: PeoplePool,
        heldout: PeoplePool,
        *,
        net: KeypointNet,
        visibility_weight: float,
        jitter: float,
        settings: dict,
    ) -> None:
        super().__init__(train, heldout, settings)
        self.net = net.to(memory_format=torch.channels_last)
        self.visibility_weight, self.jitter = visibility_weight, jitter

    def training_step(self, index_B: Tensor, batch_idx: int) -> Tensor:
        generator = self.generator()
        images = self.images("train", "frames", index_B.numpy())
        draws = torch.rand(2, len(images), 3, 1, 1, generator=generator).to(images) * 2 - 1
        noise = torch.randn(images.shape, generator=generator).to(images)
        scales = torch.rand(len(images), 1, 1, 1, generator=generator).to(images)
        images = (images - 0.5) * (1 + self.jitter * draws[0]) + 0.5 + self.jitter * draws[1]
        images = (images + self.jitter * scales * noise).clamp(0, 1)
        xy_BK2, seen_BK = self.net(images)
        target_BK2, mask_BK = self.targets("train", index_B)
        distance = ((xy_BK2 - target_BK2).abs().sum(-1) * mask_BK).sum() / mask_BK.sum()
        visibility = F.binary_cross_entropy_with_logits(seen_BK, mask_BK)
        loss = distance + self.visibility_weight * visibility
        self.log_dict({"loss": loss, "distance": distance, "visibility": visibility}, prog_bar=True)
        return loss

    def targets(self, stage: str, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """True coordinates (B, K, 2) and masks (B, K) as float, on this module's device."""
        pool, index = self.pools[stage], index_B.numpy()
        return torch.from_numpy(pool.xy[index]).to(self.device), torch.from_numpy(pool.mask[index]).float().to(
            self.device
        )

    def on_validation_epoch_start(self) -> None:
        self._errors: list[Tensor] = []
        self._agreement: list[Tensor] = []

    def validation_step(self, index_B: Tensor, batch_idx: int) -> None:
        xy_BK2, seen_BK = self.net(self.images("heldout", "frames", index_B.numpy()))
        target_BK2, mask_BK = self.targets("heldout", index_B)
        errors = torch.linalg.vector_norm(xy_BK2 - target_BK2, dim=-1)
        self._errors.append(errors.masked_fill(mask_BK == 0, torch.nan))
        self._agreement.append(((seen_BK > 0) == mask_BK.bool()).float())

    def on_validation_epoch_end(self) -> None:
        """Median distance of each part's seen keypoints, in units of the frame's side."""
        errors_NK = torch.cat(self._errors)
        figures = {f"heldout_error_{name}": errors_NK[:, part].nanmedian() for name, part in PARTS.items()}
        self.log_dict(figures | {"heldout_visibility_accuracy": torch.cat(self._agreement).mean()})

    def export(self, folder: Path) -> None:
        copy.deepcopy(self.net).half().save_pretrained(folder / "mini-keypoints")
        # The library's empty model card; ours is beside the weights that ship.
        (folder / "mini-keypoints" / "README.md").unlink(missing_ok=True)
