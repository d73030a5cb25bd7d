"""The networks that judge: which files, from where, checked by their SHA-256.

A file is looked for in the folder that the user named, then in torch's and the Hugging Face hub's caches, where
other programs may have put it, and is downloaded into torch's on first use. What is absent is said in one line and
never replaced.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from src.common.digests import sha256
from src.common.errors import UserError
from src.common.paths import MINI_WEIGHTS

log = logging.getLogger(__name__)


class WeightsMissing(UserError):
    """A network's file is not here and could not be fetched; the message names file, source and option."""


@dataclass(frozen=True)
class WeightFile:
    """A file of weights.

    Attributes:
        file: its name, in the user's folder and in the cache.
        url: where it comes from.
        sha256: of its content; None where its publisher and users give none: recorded, not checked.
        by_hand: its source is a page that leads to it, so a person has to get it.
    """

    file: str
    url: str
    sha256: str | None
    by_hand: bool = False


FILES = {
    "inception-torchscript": WeightFile(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    "inception-pytorch": WeightFile(
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    "i3d-torchscript": WeightFile(
        "i3d_torchscript.pt",
        "https://huggingface.co/flateon/FVD-I3D-torchscript/resolve/1c2d61711c52571ad617a1063e6fa691b212e184/"
        "i3d_torchscript.pt",
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    ),
    "i3d-pytorch": WeightFile(
        "i3d_pretrained_400.pt",
        "https://github.com/songweige/TATS/raw/main/tats/fvd/i3d_pretrained_400.pt",
        None,
    ),
    "alex": WeightFile(
        "alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "vgg": WeightFile(
        "vgg16-397923af.pth",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "dreamsim-open-clip": WeightFile(
        "dreamsim_open_clip_vitb32_checkpoint.zip",
        "https://github.com/ssundaram21/dreamsim/releases/download/v0.2.0-checkpoints/"
        "dreamsim_open_clip_vitb32_checkpoint.zip",
        None,
    ),
    "raft-large": WeightFile(
        "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        "https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        "ff5fadd56d26b40647388883af1547351ea17868b765c05b27231e72dd16a322",
    ),
    "videomae-v2-ssv2": WeightFile(
        "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
        "https://huggingface.co/OpenGVLab/VideoMAE2/resolve/97d119d270aca7a1217fff7f413c0c543eb325d9/mae-g/"
        "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
        "5a210a92f035dff30c53b46157b612e7a1a5d3c99700e1b2d71da5c399ca7e70",
    ),
    "resnet50-3d-kinetics": WeightFile(
        "resnet-50-kinetics.pth",
        "https://github.com/kenshohara/3D-ResNets-PyTorch",
        None,
        by_hand=True,
    ),
    "arcface-w600k-r50": WeightFile(
        "w600k_r50.onnx",
        "https://github.com/yakhyo/uniface/releases/download/weights/w600k_r50.onnx",
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
    ),
    "ediffiqa-tiny": WeightFile(
        "ediffiqa_tiny_jun2024.onnx",
        "https://huggingface.co/opencv/face_image_quality_assessment_ediffiqa/resolve/"
        "4fce5f6a5438b55a9f996a4e02164b63b849c587/ediffiqa_tiny_jun2024.onnx",
        "9426c899cc0f01665240cb7d9e7f98e18e24e456c178326c771a43da289bfc6a",
    ),
}


@dataclass(frozen=True)
class HubModel:
    """A model folder of the Hugging Face hub, at one revision.

    Attributes:
        weights: the file in it that holds the weights.
        sha256: of that file.
        settings: what its other files say of what the weights' shapes do not.
    """

    repo: str
    revision: str
    weights: str
    sha256: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)


HUB_FILES = ("config.json", "preprocessor_config.json")
HUB = {
    "openai/clip-vit-base-patch32": HubModel(
        "openai/clip-vit-base-patch32",
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        "pytorch_model.bin",
        "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        {
            **{"hidden_act": "quick_gelu", "num_attention_heads": 12, "layer_norm_eps": 1e-5},
            **{"do_resize": True, "size": {"shortest_edge": 224}, "resample": 3},
            **{"do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
            **{"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]},
        },
    ),
    "facebook/dinov2-large": HubModel(
        "facebook/dinov2-large",
        "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        "model.safetensors",
        "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
        {"hidden_act": "gelu", "num_attention_heads": 16, "layer_norm_eps": 1e-6},
    ),
}


@dataclass(frozen=True)
class WeightStore:
    """Where to look for networks.

    Attributes:
        folder: the user's folder, first to be looked at; None: the caches alone.
        download: fetch into torch's cache what is nowhere.
    """

    folder: Path | None
    download: bool

    def file(self, name: str) -> Path:
        """The checked file of a network in `FILES`.

        Raises:
            WeightsMissing: it is not here and not to be had.
            UserError: its content is not what the checksum says.
        """
        entry, found = FILES[name], self.find(name)
        if found is not None:
            return _checked(found, entry.sha256)
        self._fetch(entry.url, _cache() / entry.file, entry.file, entry.url, by_hand=entry.by_hand)
        return _checked(_cache() / entry.file, entry.sha256)

    def find(self, name: str) -> Path | None:
        """Where a file of `FILES` is, unchecked; None: not here."""
        paths = [folder / FILES[name].file for folder in (self.folder, _cache()) if folder is not None]
        return next((path for path in paths if path.is_file()), None)

    def hub_folder(self, name: str) -> Path:
        """The folder of a model in `HUB`, its weights checked; errors as for `file`."""
        entry = HUB[name]
        short = entry.repo.split("/")[-1]
        candidates = [folder / short for folder in (self.folder, _cache()) if folder is not None]
        try:
            candidates.append(
                Path(huggingface_hub.snapshot_download(entry.repo, revision=entry.revision, local_files_only=True))
            )
        except LocalEntryNotFoundError:
            log.debug("%s is not in the Hugging Face cache", entry.repo)
        for folder in candidates:
            if all((folder / file).is_file() for file in (*HUB_FILES, entry.weights)):
                _checked(folder / entry.weights, entry.sha256)
                return folder
        for file in (*HUB_FILES, entry.weights):
            url = f"https://huggingface.co/{entry.repo}/resolve/{entry.revision}/{file}"
            source = f"https://huggingface.co/{entry.repo}/tree/{entry.revision}"
            names = f"{short}/ ({', '.join((*HUB_FILES, entry.weights))})"
            self._fetch(url, _cache() / short / file, names, source)
        _checked(_cache() / short / entry.weights, entry.sha256)
        return _cache() / short

    def _fetch(self, url: str, target: Path, missing: str, source: str, *, by_hand: bool = False) -> None:
        """Download one file, whole or not at all; `missing` and `source` are for the message."""
        reason = "nothing fetches it by itself" if by_hand else "download=false forbids fetching it"
        if self.download and not by_hand:
            log.info("downloading %s", url)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(url, str(target), progress=False)
                return
            except OSError as error:  # urllib's errors are among them
                reason = f"fetching it failed: {getattr(error, 'reason', error)}"
        raise WeightsMissing(
            f"{missing} is absent: get it from {source} and put it into a folder named by weights=<folder>, or into "
            f"{_cache()}; {reason}"
        )


def check_settings(name: str, folder: Path, said: Mapping[str, Any]) -> None:
    """Refuse a model of `HUB` whose files beside the weights say what would change its numbers.

    Args:
        said: the settings, as the network that was made of the folder has them.

    Raises:
        UserError: names the first that differs.
    """
    for key, published in HUB[name].settings.items():
        found = list(said[key]) if isinstance(said.get(key), tuple) else said.get(key)
        if found != published:
            raise UserError(
                f"{folder} is not the published {name}: {key} is {found}, expected {published}; delete its "
                f"{' and '.join(HUB_FILES)} and fetch them again"
            )


def mini_folder(name: str) -> Path:
    """The folder of a judge that ships with this repository (`mini-keypoints`, `mini-clip`).

    Raises:
        WeightsMissing: this copy of the repository lacks it.
    """
    folder = MINI_WEIGHTS / name
    if not (folder / "config.json").is_file():
        raise WeightsMissing(f"{name} is not in this copy of the repository ({MINI_WEIGHTS}): fetch it with git")
    return folder


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _checked(path: Path, expected: str | None) -> Path:
    if expected is not None and sha256(path) != expected:
        raise UserError(
            f"{path} is not the published file: its SHA-256 is {sha256(path)[:12]}…, expected {expected[:12]}…; "
            "delete it and fetch it again"
        )
    return path
