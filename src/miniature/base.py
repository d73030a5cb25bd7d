"""The miniature base model: text encoder, UNet and pose ControlNet, trained together on single frames.

Dimensions: B frames, C latent channels, H×W pixels, h×w latent cells, T tokens, E text channels.
"""

import copy
from pathlib import Path
from typing import cast

import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import compute_snr
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from src.miniature.common import LARGEST_FILE, PoolModule
from src.miniature.details import detail_cells
from src.miniature.latents import load_vae, pool_latents
from src.miniature.pools import PeoplePool
from src.miniature.rows import Rows
from src.miniature.tokenizer import build_tokenizer, load_tokenizer, save_tokenizer
from src.miniature.warm_start import warm_start

NETWORKS = ("text_encoder", "unet", "controlnet")


class BaseModule(PoolModule):
    """Noise prediction as in Stable Diffusion, with the pose drawing from the first step on.

    Each batch spreads its timesteps evenly over the schedule, and the loss is weighted by min(SNR, gamma) / SNR
    (Hang et al. 2023, for noise prediction): both learn the same model from fewer frames. Cells of faces and hands
    count more than the rest, since they are few and are what is looked at.

    Args:
        unet: untrained.
        controlnet: untrained, its pose embedding shrinks the drawing as the VAE does the picture.
        text_encoder: sizes of the text encoder by the names of `CLIPTextConfig`; the vocabulary comes from the prompts.
        tokens: T.
        scheduler: Stable Diffusion's.
        vae_folder: weights of the finished VAE.
        cache_dir: folder for the pools' latents.
        prompt_dropout: share of empty prompts, for guidance.
        snr_gamma: of the weighting.
        detail_weight: of a latent cell of a face or a hand; 1 is that of the others.
        start_from: folder of an earlier model in diffusers' layout, whose weights and vocabulary it begins with; see
            `warm_start`. None: from scratch.
        settings: see `StepSettings`.

    Raises:
        UserError: there is no VAE yet, or nothing to start from.
    """

    pictures = ("drawings",)

    def __init__(
        self,
        train: PeoplePool,
        heldout: PeoplePool,
        *,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel,
        text_encoder: dict,
        tokens: int,
        scheduler: DDIMScheduler,
        vae_folder: str,
        cache_dir: str,
        prompt_dropout: float,
        snr_gamma: float,
        detail_weight: float,
        start_from: str | None,
        settings: dict,
    ) -> None:
        super().__init__(train, heldout, settings)
        if start_from is None:
            self.tokenizer = build_tokenizer(train.prompts, length=tokens)
        else:
            self.tokenizer = load_tokenizer(Path(start_from) / "tokenizer")
        ids = {name: getattr(self.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        config = CLIPTextConfig(vocab_size=len(self.tokenizer), max_position_embeddings=tokens, **ids, **text_encoder)
        self.text_encoder = CLIPTextModel(config)
        self.unet, self.controlnet, self.scheduler = unet, controlnet, scheduler
        if start_from is not None:
            for name in NETWORKS:
                warm_start(getattr(self, name), Path(start_from) / name)
        controlnet.controlnet_cond_embedding.to(memory_format=torch.channels_last)
        # Encoding is quick where there is a GPU, whatever trains.
        encoder_device = "cuda" if torch.cuda.is_available() else "cpu"
        vae, weights = load_vae(vae_folder), Path(vae_folder) / "diffusion_pytorch_model.safetensors"
        cast(nn.Module, vae).to(encoder_device)
        for name, pool in self.pools.items():
            chunk = 64 if encoder_device == "cpu" else 512
            self.rows[name, "latents"] = Rows([pool_latents(vae, weights, pool, Path(cache_dir), chunk=chunk)])
        # The empty prompt is the last row.
        self.token_ids = {
            name: self.tokenizer(
                [*pool.prompts, ""], padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
            ).input_ids
            for name, pool in self.pools.items()
        }
        for name, pool in self.pools.items():
            side = self.rows[name, "latents"].shards[0].shape[-1]
            self.rows[name, "cells"] = Rows([detail_cells(pool.xy, pool.mask, side)])
        self.prompt_dropout, self.snr_gamma, self.detail_weight = prompt_dropout, snr_gamma, detail_weight

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.device.type == "cpu":
            # Plain attention: the fused one is slower on a CPU at these sizes. Processors are not part of the weights.
            self.unet.set_attn_processor(AttnProcessor())
            self.controlnet.set_attn_processor(AttnProcessor())

    def training_step(self, index_B: Tensor, batch_idx: int) -> Tensor:
        generator = self.generator()
        rows_B = torch.where(torch.rand(len(index_B), generator=generator) < self.prompt_dropout, -1, index_B)
        squared_Bhw, timesteps_B = self.squared_error("train", index_B, rows_B, generator)
        snr_B = compute_snr(self.scheduler, timesteps_B)
        cells_Bhw = self.detail_cells("train", index_B)
        weights_Bhw = torch.where(cells_Bhw, self.detail_weight, 1.0)
        squared_B = (squared_Bhw * weights_Bhw).sum((1, 2)) / weights_Bhw.sum((1, 2))
        loss = (squared_B * snr_B.clamp_max(self.snr_gamma) / snr_B).mean()
        self.log_dict({"loss": loss, "unweighted_loss": squared_Bhw.mean()}, prog_bar=True)
        return loss

    def validation_step(self, index_B: Tensor, batch_idx: int) -> None:
        squared_Bhw, _ = self.squared_error("heldout", index_B, index_B, self.generator(batch_idx))
        details = squared_Bhw[self.detail_cells("heldout", index_B)]
        self.log("heldout_loss", squared_Bhw.mean(), batch_size=len(index_B), sync_dist=True)
        self.log("heldout_loss_details", details.mean(), batch_size=len(details), sync_dist=True)

    def detail_cells(self, stage: str, index_B: Tensor) -> Tensor:
        """Which latent cells (B, h, w) belong to a face or a hand."""
        return self.rows[stage, "cells"].gather(index_B.numpy(), self.device)

    def squared_error(
        self, stage: str, index_B: Tensor, prompt_rows_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Squared error of the predicted noise in every cell (B, h, w) and the timesteps (B,) it was predicted at."""
        index, device = index_B.numpy(), self.device
        latents = self.rows[stage, "latents"].gather(index, device).float()
        # Drawn where it is needed: on a GPU the processor would not keep up.
        noise_seed = int(torch.randint(2**62, (), generator=generator))
        noise = torch.randn(latents.shape, generator=torch.Generator(device).manual_seed(noise_seed), device=device)
        num_timesteps = self.scheduler.config["num_train_timesteps"]
        timesteps_B = stratified_timesteps(len(index), num_timesteps, generator).to(device)
        noisy = self.scheduler.add_noise(latents, noise, cast(torch.IntTensor, timesteps_B))
        text_BTE = self.text_encoder(self.token_ids[stage][prompt_rows_B].to(device))[0]
        drawings = self.images(stage, "drawings", index)
        down, mid = self.controlnet(noisy, timesteps_B, text_BTE, drawings, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        predicted = self.unet(noisy, timesteps_B, text_BTE, **residuals, return_dict=False)[0]
        return (predicted.float() - noise).square().mean(1), timesteps_B

    def export(self, folder: Path) -> None:
        folder = folder / "mini"
        for name in NETWORKS:
            copy.deepcopy(getattr(self, name)).half().save_pretrained(folder / name, max_shard_size=LARGEST_FILE)
        self.scheduler.save_pretrained(folder / "scheduler")
        save_tokenizer(self.tokenizer, folder / "tokenizer")


def stratified_timesteps(count: int, num_train_timesteps: int, generator: torch.Generator) -> Tensor:
    """Timesteps (B,), one from each of B equal parts of the schedule, in random order; each is uniform by itself."""
    parts = torch.randperm(count, generator=generator)
    return ((parts + torch.rand(count, generator=generator)) / count * num_train_timesteps).long()
