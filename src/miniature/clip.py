"""Training of the miniature image–text encoder.

Dimensions: B frames, C channels, S pixels a side, T tokens.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from src.miniature.common import PoolModule
from src.miniature.pools import PeoplePool
from src.miniature.tokenizer import build_tokenizer, save_tokenizer

# CLIP's own normalisation of images.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipModule(PoolModule):
    """CLIP's contrastive loss on frames and the prompts of the people in them.

    Frames with the same prompt are all counted as its partners: a pool has many pictures of everyone.

    Args:
        vision: sizes by the names of `CLIPVisionConfig`.
        text: sizes by the names of `CLIPTextConfig`.
        projection_dim: of the shared space.
        tokens: T.
        settings: see `StepSettings`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        train: PeoplePool,
        heldout: PeoplePool,
        *,
        vision: dict,
        text: dict,
        projection_dim: int,
        tokens: int,
        settings: dict,
    ) -> None:
        super().__init__(train, heldout, settings)
        self.tokenizer = build_tokenizer(train.prompts, length=tokens)
        ids = {name: getattr(self.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        text_config = CLIPTextConfig(vocab_size=len(self.tokenizer), max_position_embeddings=tokens, **ids, **text)
        vision_config = CLIPVisionConfig(**vision)
        self.clip = CLIPModel(
            CLIPConfig(
                text_config=text_config.to_dict(), vision_config=vision_config.to_dict(), projection_dim=projection_dim
            )
        )
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.side = vision["image_size"]
        self.token_ids, self.prompt_numbers = {}, {}
        for name, pool in self.pools.items():
            self.token_ids[name] = self.tokenizer(
                pool.prompts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
            ).input_ids
            numbers = {prompt: number for number, prompt in enumerate(sorted(set(pool.prompts)))}
            self.prompt_numbers[name] = torch.tensor([numbers[prompt] for prompt in pool.prompts])

    def training_step(self, index_B: Tensor, batch_idx: int) -> Tensor:
        loss, _ = self.compare("train", index_B)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, index_B: Tensor, batch_idx: int) -> None:
        loss, correct = self.compare("heldout", index_B)
        # Retrieval among the batch: any frame or prompt of the same description counts as found.
        self.log_dict({"heldout_loss": loss, "heldout_retrieval": correct}, batch_size=len(index_B), sync_dist=True)

    def compare(self, stage: str, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Contrastive loss of a batch, and the share of frames whose nearest prompt is their own."""
        images = self.images(stage, "frames", index_B.numpy())
        if images.shape[-1] != self.side:
            images = F.interpolate(images, (self.side, self.side), mode="bicubic", antialias=True)
        tokens = self.token_ids[stage][index_B].to(self.device)
        output = self.clip(input_ids=tokens, pixel_values=(images - self.mean) / self.std)
        logits_BB = output.logits_per_image.float()
        numbers_B = self.prompt_numbers[stage][index_B].to(self.device)
        same_BB = (numbers_B[:, None] == numbers_B[None]).float()
        targets_BB = same_BB / same_BB.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits_BB, targets_BB) + F.cross_entropy(logits_BB.T, targets_BB)) / 2
        best_B = logits_BB.argmax(1)
        return loss, same_BB.gather(1, best_B[:, None]).mean()

    def export(self, folder: Path) -> None:
        folder = folder / "mini-clip"
        copy.deepcopy(self.clip).half().save_pretrained(folder)
        save_tokenizer(self.tokenizer, folder)
        CLIPImageProcessor(
            size={"shortest_edge": self.side}, crop_size={"height": self.side, "width": self.side}
        ).save_pretrained(folder)
