"""Networks beside the paper's: real architectures with seeded weights against independent computations."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from cdfvd.fvd import get_videomae_features
from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import VisionTransformer
from cdfvd.utils.metric_utils import FeatureStats
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.optical_flow import Raft_Large_Weights, raft_large
from torchvision.transforms.functional import normalize, to_tensor
from transformers import Dinov2Config, Dinov2Model
from uniface.recognition.base import BaseRecognizer, PreprocessConfig

import eval.networks.videomae
from eval.networks.dinov2 import DINOv2
from eval.networks.face import SIDE, FaceNetwork, aligned_faces
from eval.networks.raft import RAFT
from eval.networks.resnet3d import ResNet3D
from eval.networks.videomae import VideoMAE
from src.common.digests import sha256
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.keypoints import PARTS, PoseSequence
from tests.eval.conftest import smooth_frames
from tests.eval.conftest import to_tensor as frames_tensor


@pytest.fixture(scope="module")
def video(request: pytest.FixtureRequest) -> np.ndarray:
    """(16, 128, 128, 3) uint8: a real clip's frames back and forth where there are some, else a drifting texture."""
    try:
        frames = request.getfixturevalue("real_frames")
    except pytest.skip.Exception:
        return smooth_frames(16, 128, 0)
    return np.concatenate([frames, frames[::-1]] * 2)


# DINOv2


def dinov2_folder(folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Dinov2Config(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, image_size=518, patch_size=14)
        model = Dinov2Model(config).eval()
        for parameter in model.parameters():  # biases and scales start at 0 and 1, which hides mistakes
            nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


def timm_twin(folder: Path, side: int) -> nn.Module:
    """The same weights, by the names in their file, in timm's network for pictures of `side` pixels."""
    twin = timm.create_model(
        "vit_small_patch14_dinov2",
        img_size=side,
        embed_dim=48,
        depth=3,
        num_heads=3,
        init_values=1.0,
        num_classes=0,
        pretrained=False,
    )
    state = load_file(folder / "model.safetensors")
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for index in range(3):
        old, new = f"encoder.layer.{index}.", f"blocks.{index}."
        for kind in ("weight", "bias"):
            parts = [state[f"{old}attention.attention.{name}.{kind}"] for name in ("query", "key", "value")]
            renamed[f"{new}attn.qkv.{kind}"] = torch.cat(parts)
            renamed[f"{new}attn.proj.{kind}"] = state[f"{old}attention.output.dense.{kind}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                renamed[f"{new}{name}.{kind}"] = state[f"{old}{name}.{kind}"]
        for number in (1, 2):
            renamed[f"{new}ls{number}.gamma"] = state[f"{old}layer_scale{number}.lambda1"]
    size = round((renamed["pos_embed"].shape[1] - 1) ** 0.5)
    if side // 14 != size:  # the released code: scale_factor = (w0 + 0.1) / sqrt(N)
        grid = renamed["pos_embed"][:, 1:].reshape(1, size, size, 48).permute(0, 3, 1, 2)
        scale = (side // 14 + 0.1) / size
        grid = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        patches = grid.permute(0, 2, 3, 1).reshape(1, -1, 48)
        renamed["pos_embed"] = torch.cat([renamed["pos_embed"][:, :1], patches], 1)
    twin.load_state_dict(renamed)
    return twin.eval()


def test_dinov2_is_the_released_network_on_stein_et_als_pictures(tmp_path: Path, video: np.ndarray) -> None:
    folder = dinov2_folder(tmp_path)
    network = DINOv2(folder, name="dinov2", digest="0")
    pictures = [
        normalize(
            to_tensor(Image.fromarray(frame).resize((224, 224), Image.BICUBIC)),
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
        )
        for frame in video[:3]
    ]
    with torch.no_grad():
        theirs = timm_twin(folder, 224)(torch.stack(pictures))
    ours = network(frames_tensor(video[:3]))
    assert ours.shape == (3, network.num_features) == (3, 48)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


# VideoMAE


def test_videomae_is_cd_fvds(tmp_path: Path, video: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(**options: object) -> VisionTransformer:
        return VisionTransformer(patch_size=14, embed_dim=32, depth=2, num_heads=2, qkv_bias=True, **options)

    monkeypatch.setattr(eval.networks.videomae, "vit_giant_patch14_224", small)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = small(img_size=224, num_classes=174, all_frames=16, tubelet_size=2, use_mean_pooling=True).eval()
    for key in ("module", "model"):
        torch.save({key: model.state_dict()}, tmp_path / "weights.pth")
        network = VideoMAE(tmp_path / "weights.pth")
        assert network.sha256 == sha256(tmp_path / "weights.pth")
    stats = FeatureStats(capture_all=True)
    clips = np.stack([video, video[::-1]])
    get_videomae_features(stats, model, clips, device="cpu")
    prepared = torch.stack([network.prepare(frames_tensor(clip)) for clip in clips])
    assert prepared.shape == (2, 16, 3, 224, 224)
    torch.testing.assert_close(network(prepared), stats.get_all_torch(), atol=1e-5, rtol=1e-5)


# FID-VID


class HaraBottleneck(nn.Module):
    """Of the public 3D-ResNets code, written out again: names and order are those of the published file."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(inputs, planes, 1, bias=False), nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.conv3, self.bn3 = nn.Conv3d(planes, 4 * planes, 1, bias=False), nn.BatchNorm3d(4 * planes)
        self.downsample = None
        if stride != 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, 4 * planes, 1, stride=stride, bias=False), nn.BatchNorm3d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + residual)


class HaraResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        inputs = 64
        for index, (planes, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            blocks = []
            for block in range(count):
                blocks.append(HaraBottleneck(inputs, planes, 2 if index > 1 and block == 0 else 1))
                inputs = 4 * planes
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2048, 400)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool3d(torch.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return nn.functional.avg_pool3d(x, (1, 4, 4), stride=1).flatten(1)


def test_fid_vid_is_discos(tmp_path: Path, video: np.ndarray) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HaraResNet().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):  # running statistics that differ from the initial ones
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "arch": "resnet-50", "state_dict": state}, tmp_path / "resnet-50-kinetics.pth")
    network = ResNet3D(tmp_path / "resnet-50-kinetics.pth")
    frames = []
    for frame in video:  # DisCo's make_resizer("PIL", False, "bicubic", (112, 112)), which does not clip
        channels = [
            Image.fromarray(frame[..., c].astype(np.float32)).resize((112, 112), Image.BICUBIC) for c in (0, 1, 2)
        ]
        frames.append(np.stack([np.asarray(channel) for channel in channels], -1))
    clip = torch.tensor(np.stack(frames)) - torch.tensor([114.7748, 107.7354, 99.4750])
    with torch.no_grad():
        theirs = model(clip.permute(3, 0, 1, 2)[None])
    ours = network(network.prepare(frames_tensor(video))[None])
    assert ours.shape == (1, network.num_features)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# RAFT


def test_raft_is_torchvisions_and_pads_what_does_not_fit(tmp_path: Path, video: np.ndarray) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = raft_large(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "raft.pth")
    network = RAFT(tmp_path / "raft.pth")
    before, after = frames_tensor(video[:1]), frames_tensor(video[1:2])
    with torch.no_grad():
        theirs = model(*Raft_Large_Weights.C_T_SKHT_V2.transforms()(before, after))[-1]
    torch.testing.assert_close(network(before, after), theirs, rtol=1e-4, atol=1e-4)
    odd = network(before[..., :60, :70], after[..., :60, :70])
    assert odd.shape == (1, 2, 60, 70) and odd.isfinite().all()


# Faces


def face_onnx(path: Path, outputs: int, batch: int | str) -> Path:
    """The interface of the published files, (batch, 3, 112, 112) to (batch, outputs), on a small network."""
    generator = np.random.default_rng(0)
    weight = generator.normal(0, 0.1, (8, 3, 16, 16)).astype(np.float32)
    matrix = generator.normal(0, 0.1, (8 * 49, outputs)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "weight"], ["conv"], strides=[16, 16]),
            onnx.helper.make_node("Relu", ["conv"], ["relu"]),
            onnx.helper.make_node("Flatten", ["relu"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "matrix"], ["y"]),
        ],
        "face",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, outputs])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


class Recognizer(BaseRecognizer):
    """uniface's own reading of such a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(model_path=str(path), preprocessing=PreprocessConfig(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, "N"])
def test_face_embeddings_are_unifaces(tmp_path: Path, batch: int | str) -> None:
    path = face_onnx(tmp_path / "w600k_r50.onnx", 32, batch)
    frames, poses = render_clip(sample_identity(2), "talk", 5, 160, 2)
    faces, found = aligned_faces(frames, poses)
    ours = FaceNetwork("arcface", path)(faces)
    points = poses.xy[:, PARTS["face"]] * 160 - 0.5
    for number, frame in enumerate(np.flatnonzero(found)):
        marks = [points[frame, 36:42].mean(0), points[frame, 42:48].mean(0), *points[frame, [30, 48, 54]]]
        theirs = Recognizer(path).get_embedding(frames[frame][..., ::-1], np.array(marks, np.float32))
        np.testing.assert_allclose(ours[number].numpy(), theirs[0], rtol=2e-4, atol=2e-4)
    assert found.any() and len(ours) == found.sum()


def test_faces_are_where_all_landmarks_are_and_upright_in_the_template() -> None:
    frames, truth = render_clip(sample_identity(2), "talk", 4, 160, 2)
    mask = np.ones_like(truth.mask)
    mask[1, PARTS["face"].start + 30] = False
    poses = PoseSequence(truth.xy, mask.astype(np.float32), mask)
    faces, found = aligned_faces(frames, poses)
    assert list(found) == [True, False, True, True] and faces.shape == (3, 3, SIDE, SIDE)
    empty, _ = aligned_faces(frames, poses[[1, 1, 1, 1]])
    assert empty.shape == (0, 3, SIDE, SIDE)
    turned, _ = aligned_faces(
        np.rot90(frames, 1, (1, 2)).copy(),
        PoseSequence(np.stack([poses.xy[..., 1], 1 - poses.xy[..., 0]], -1), poses.confidence, poses.mask),
    )
    difference = (turned.float() - faces.float()).abs().mean()
    assert difference < 8, "a picture on its side gives the same face"
