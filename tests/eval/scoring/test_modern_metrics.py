"""The metrics beside the paper's, end to end: rendered people, small seeded networks, the command line."""

import importlib
import inspect
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import VisionTransformer
from dreamsim.feature_extraction import load_open_clip_as_dino
from torchvision.models.optical_flow import raft_small

import eval.networks.raft
import eval.networks.videomae
from eval.metrics.base import MeanMetric
from eval.metrics.registry import REGISTRY, SETS, metric_keys
from eval.metrics.samples import SampleMetric
from eval.networks.networks import Networks
from eval.networks.weights import FILES, WeightsMissing, WeightStore
from eval.score import main
from eval.scoring.clips import ScoredClip
from eval.scoring.score import score
from eval.scoring.settings import ScoreSettings
from src.common.errors import UserError
from src.media.video import write_frames
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.extractors.mini import KeypointNet, MiniExtractor
from src.pose.keypoints import PoseSequence
from tests.eval.networks import test_dreamsim
from tests.eval.networks.test_modern_networks import dinov2_folder, face_onnx
from tests.eval.test_score import protocol

MODERN = SETS["modern"]


def test_sets_of_metrics_are_their_lists() -> None:
    assert metric_keys("paper") == ("ssim", "psnr", "lpips", "mse-p", "fid", "clip-i", "fvd", "clip-t")
    assert metric_keys(["disco", "ssim", "clip-t"]) == (*SETS["disco"], "clip-t")
    assert set(SETS["paper"]) | set(SETS["disco"]) | set(MODERN) <= set(SETS["all"]) <= set(REGISTRY)
    assert not set(MODERN) & (set(SETS["paper"]) | set(SETS["disco"]))
    assert not set(SETS) & set(REGISTRY), "a name is a set or a metric"
    with pytest.raises(UserError, match="some of paper, disco, modern, all, ssim"):
        metric_keys(["papers"])
    with pytest.raises(UserError, match="each once"):
        metric_keys(["paper", "paper"])


def test_the_registry_says_which_metrics_no_clip_or_not_every_clip_has() -> None:
    for spec in REGISTRY.values():
        module, _, name = spec.implementation.partition(":")
        own = getattr(importlib.import_module(f"eval.metrics.{module}"), name)
        assert issubclass(own, SampleMetric if spec.of_all_clips else MeanMetric), spec.key
        assert (spec.seen is not None) == ('"seen"' in inspect.getsource(own.details)), spec.key


class Attentive(MiniExtractor):
    """The miniature extractor always finds somebody; this one finds nobody in an empty frame."""

    def _detect(self, net: KeypointNet, frame_HWC: np.ndarray) -> PoseSequence:
        found = super()._detect(net, frame_HWC)
        return found if frame_HWC.std() > 0 else PoseSequence(found.xy, found.confidence, np.zeros_like(found.mask))


@pytest.fixture
def small_networks(
    weights_folder: Path, random_weights: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Networks:
    """Small seeded networks of the right interfaces under the published names."""

    def small(**options: object) -> VisionTransformer:
        return VisionTransformer(patch_size=14, embed_dim=32, depth=1, num_heads=2, qkv_bias=True, **options)

    monkeypatch.setattr(eval.networks.videomae, "vit_giant_patch14_224", small)
    monkeypatch.setattr(eval.networks.raft, "raft_large", raft_small)
    monkeypatch.setattr(load_open_clip_as_dino, "vit_base", test_dreamsim.small)
    folder = tmp_path / "weights"
    folder.mkdir()
    for file in weights_folder.iterdir():
        (folder / file.name).symlink_to(file)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = small(img_size=224, num_classes=174, all_frames=16, tubelet_size=2, use_mean_pooling=True)
        torch.save(vit.state_dict(), folder / FILES["videomae-v2-ssv2"].file)
        flow = raft_small(weights=None)
        # Random flow is all boundary: none at all lets every pixel count.
        torch.nn.init.zeros_(flow.update_block.flow_head.conv2.weight)
        torch.nn.init.zeros_(flow.update_block.flow_head.conv2.bias)
        torch.save(flow.state_dict(), folder / FILES["raft-large"].file)
    test_dreamsim.checkpoint(folder / FILES["dreamsim-open-clip"].file)
    dinov2_folder(folder / "dinov2-large")
    (folder / "dinov2-large" / "preprocessor_config.json").write_text("{}")
    face_onnx(folder / FILES["arcface-w600k-r50"].file, 32, "N")
    face_onnx(folder / FILES["ediffiqa-tiny"].file, 1, 1)
    store = WeightStore(folder, download=False)
    return Networks(store, extractor=Attentive(), device=torch.device("cpu"), batch_size=8)


def person() -> np.ndarray:
    return render_clip(sample_identity(3), "talk", 18, 96, 4)[0]


def scored(networks: Networks, generated: np.ndarray, real: np.ndarray, *names: str) -> dict:
    clip = ScoredClip("anna", generated, real, real[0])
    rules = protocol("pose=mini", "protocol.mse_p.extractor=mini", "protocol.fvd.stride=1")
    return score([clip], ScoreSettings(metrics=names, protocol=rules), networks).as_dict()


def test_every_modern_metric_sees_the_truth_as_best_and_blur_as_worse(small_networks: Networks) -> None:
    real = person()
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 6) for frame in real])
    best, worse = (scored(small_networks, generated, real, "modern", "l1") for generated in (real, blurred))
    assert best["missing"] == {} and set(best["metrics"]) == {*MODERN, "l1"}
    values = {name: (best["metrics"][name]["value"], worse["metrics"][name]["value"]) for name in best["metrics"]}
    for name in ("l1", "fd-dinov2", "fvd-videomae", "kid"):
        assert values[name][0] == pytest.approx(0, abs=1e-5) or values[name][0] < 0, name
        # An untrained Inception sees next to nothing.
        assert values[name][1] > values[name][0] + 1e-9 or name == "kid", name
    for name in ("pck-body", "pck-face", "pck-hands", "oks-body", "oks-face", "oks-hands"):
        assert values[name][0] == pytest.approx(1) and values[name][1] < 1, name
        assert worse["metrics"][name]["network"]["name"] == "mini"
    assert values["identity"][0] > values["identity"][1]
    assert best["metrics"]["identity"]["network"]["name"] == "arcface-w600k-r50"
    assert values["flicker"][0] < values["flicker"][1], "blur smooths motion away, as the metric's docstring warns"
    for name, entry in best["metrics"].items():
        of_sets = not entry.keys().isdisjoint({"real_frames", "real_clips"})
        assert (name in best["clips"]["anna"]) == (not of_sets), name


def test_a_frame_without_a_face_counts_against_the_identity(small_networks: Networks) -> None:
    real = person()
    gone = real.copy()
    gone[9:] = 127
    names = ("identity", "pck-body", "oks-face")
    whole, half = (scored(small_networks, generated, real, *names)["metrics"] for generated in (real, gone))
    assert half["identity"]["seen"] < 0.6 < whole["identity"]["seen"]
    assert half["identity"]["value"] < 0.7 * whole["identity"]["value"]
    for name in names[1:]:
        assert half[name]["value"] < 0.7 * whole[name]["value"]
        assert half[name]["seen"] < 0.7


def test_a_video_in_which_nobody_is_found_has_no_identity(small_networks: Networks) -> None:
    real = person()
    result = scored(small_networks, np.full_like(real, 127), real, "identity", "face-quality")
    for name in ("identity", "face-quality"):
        assert (result["metrics"][name]["value"], result["metrics"][name]["seen"]) == (0, 0)


@pytest.mark.parametrize("shown", [None, "nobody"])
def test_the_quality_of_faces_needs_no_reference(
    tmp_path: Path, random_weights: WeightStore, shown: str | None
) -> None:
    """It compares with nothing, and a reference that shows nobody takes its value from the identity alone."""
    real = person()[:2]
    for name, columns in (("arcface-w600k-r50", 32), ("ediffiqa-tiny", 1)):
        face_onnx(tmp_path / FILES[name].file, columns, "N" if name.startswith("arc") else 1)
    store = WeightStore(tmp_path, download=False)
    judges = Networks(store, extractor=Attentive(), device=torch.device("cpu"), batch_size=8)
    clip = ScoredClip("anna", real, None, None if shown is None else np.zeros_like(real[0]))
    rules = protocol("pose=mini", "protocol.mse_p.extractor=mini")
    result = score([clip], ScoreSettings(metrics=("face-quality", "identity"), protocol=rules), judges).as_dict()
    assert set(result["metrics"]) == {"face-quality"} and result["metrics"]["face-quality"]["seen"] == 1
    assert "reference image" in result["missing"]["identity"]


def test_what_is_absent_is_named_with_its_source(tmp_path: Path, call_main) -> None:
    write_frames(tmp_path / "real", person())
    options = [f"generated={tmp_path}/real", f"real={tmp_path}/real", "metrics=[modern,fid-vid]", "download=false"]
    options += ["pose=mini", "protocol.mse_p.extractor=mini", f"weights={tmp_path}", "device=cpu"]
    status, error = call_main(main, *options, f"output={tmp_path}/out.json")
    assert status == 0, error
    result = json.loads((tmp_path / "out.json").read_text())
    assert {"flicker", "oks-body", "pck-hands"} <= set(result["metrics"])
    assert "raft_large_C_T_SKHT_V2-ff5fadd5.pth is absent" in result["missing"]["warping-error"]
    assert "needs the reference image" in result["missing"]["identity"]
    assert "nothing fetches it by itself" in result["missing"]["fid-vid"]
    assert "kenshohara/3D-ResNets-PyTorch" in result["missing"]["fid-vid"]


def test_a_file_that_only_a_person_can_get_is_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("a page was fetched"))
    with pytest.raises(WeightsMissing, match=r"resnet-50-kinetics\.pth is absent"):
        WeightStore(None, download=True).file("resnet50-3d-kinetics")
