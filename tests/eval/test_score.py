"""All metrics together, through the configuration and on the command line."""

import importlib
import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import CLIPImageProcessor, CLIPModel

import eval.networks.weights
from eval.metrics.registry import REGISTRY
from eval.networks.base import Network
from eval.networks.networks import Networks
from eval.networks.weights import WeightStore
from eval.report import main as report_main
from eval.score import main
from eval.scoring.clips import ScoredClip
from eval.scoring.protocol import Protocol
from eval.scoring.score import score
from eval.scoring.settings import ScoreSettings
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.common.typed import typed
from src.media.video import write_frames
from src.pose.extractors.base import PoseExtractor
from src.pose.formats import save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.pose.tracking import NobodyFound
from tests.eval.conftest import smooth_frames
from tests.eval.metrics.test_frechet import by_singular_values

ALL = ["ssim", "psnr", "lpips", "mse-p", "fid", "clip-i", "fvd", "clip-t"]


class BrightestPoint(PoseExtractor):
    """A pose that a test can move: every keypoint lies where the frame is brightest."""

    name = "dwpose"

    def fingerprint(self) -> str:
        return "brightest point"

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        points = []
        for frame in frames:
            gray = cv2.GaussianBlur(frame, (0, 0), 2).sum(-1)
            y, x = np.unravel_index(gray.argmax(), gray.shape)
            points.append((x / frame.shape[1], y / frame.shape[0]))
        xy = np.repeat(np.array(points, np.float32)[:, None], NUM_KEYPOINTS, axis=1)
        return PoseSequence(xy, np.ones(xy.shape[:2], np.float32), np.ones(xy.shape[:2], bool))


def protocol(*overrides: str) -> Protocol:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return typed(Protocol, compose("score", [*overrides]).protocol, "protocol")


def networks(store: WeightStore) -> Networks:
    return Networks(store, extractor=BrightestPoint(), device=torch.device("cpu"), batch_size=8)


def run(judges: Networks, names: list[str], clips: list[ScoredClip], *overrides: str) -> dict:
    result = score(clips, ScoreSettings(metrics=tuple(names), protocol=protocol(*overrides)), judges).as_dict()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    return result


def test_identical_clips_reach_the_best_value_of_every_metric(random_weights: WeightStore) -> None:
    frames = smooth_frames(32, 48, seed=0)
    still = np.repeat(frames[:1], 32, axis=0)
    names = [name for name in ALL if name != "fid"]  # the root of its 2048 x 2048 covariance is slow on a CPU
    result = run(networks(random_weights), names, [ScoredClip("still", still, still, frames[0])])
    values = {name: entry["value"] for name, entry in result["metrics"].items()}
    assert result["missing"] == {} and list(values) == names
    assert values["psnr"] == "inf" and values["ssim"] == pytest.approx(1, abs=1e-12)
    assert values["lpips"] == values["mse-p"] == 0
    assert values["clip-i"] == pytest.approx(1, abs=1e-5) and values["clip-t"] == pytest.approx(1, abs=1e-5)
    assert values["fvd"] == pytest.approx(0, abs=1e-6)
    assert result["metrics"]["fvd"]["clips"] == 2 and "2 clips for 400" in result["metrics"]["fvd"]["note"]
    assert {entry["frames"] for entry in result["metrics"].values()} == {32}
    assert result["metrics"]["mse-p"]["network"]["fingerprint"] == "brightest point"
    assert len(result["metrics"]["lpips"]["network"]["sha256"]) == 64 * 2 + 1


def test_degradations_move_the_right_metrics(random_weights: WeightStore) -> None:
    judges = networks(random_weights)
    names = ["ssim", "psnr", "lpips", "mse-p", "fvd", "clip-t"]
    real = smooth_frames(20, 48, seed=0)
    rng = np.random.default_rng(0)
    sides = {
        "noise 4": np.clip(real + rng.normal(0, 4, real.shape), 0, 255).astype(np.uint8),
        "noise 40": np.clip(real + rng.normal(0, 40, real.shape), 0, 255).astype(np.uint8),
        "shuffled": real[rng.permutation(20)],
        "shifted": np.roll(real, 8, axis=2),
    }
    clips = {
        name: [ScoredClip("a", side, real, None), ScoredClip("b", side[::-1], real[::-1], None)]
        for name, side in sides.items()
    }
    scores = {
        side: {name: entry["value"] for name, entry in run(judges, names, pair)["metrics"].items()}
        for side, pair in clips.items()
    }
    for name in names[:-1]:
        higher = REGISTRY[name].higher_is_better
        ranked = sorted(scores, key=lambda side: scores[side][name], reverse=higher)
        assert scores["noise 4"][name] != scores["noise 40"][name] or name == "mse-p"
        assert ranked.index("noise 4") <= ranked.index("noise 40"), name
        assert ranked[0] == "noise 4", f"{name} prefers little noise to a wrong order or place"
    assert scores["shifted"]["mse-p"] > 0.001 and scores["shuffled"]["mse-p"] > 0.001
    assert scores["shuffled"]["clip-t"] == pytest.approx(scores["noise 4"]["clip-t"], abs=0.05), "it is blind to order"


class MeanColor(Network):
    """Features that a test can compute itself."""

    num_features = 3

    def forward(self, frames_BCHW: torch.Tensor) -> torch.Tensor:
        return frames_BCHW.float().mean((2, 3))


def test_fid_pools_all_clips(random_weights: WeightStore) -> None:
    judges = networks(random_weights)
    judges.inception = lambda kind: MeanColor("mean colour", "none")
    generated, real = smooth_frames(6, 48, seed=0), smooth_frames(6, 48, seed=1)
    clips = [ScoredClip("a", generated[:2], real[:2], None), ScoredClip("b", generated[2:], real[2:], None)]
    result = run(judges, ["fid"], clips)
    entry = result["metrics"]["fid"]
    expected = by_singular_values(*(side.mean((1, 2), dtype=np.float64) for side in (generated, real)))
    assert entry["value"] == pytest.approx(expected, rel=1e-4)
    assert entry["frames"] == entry["real_frames"] == 6 and result["clips"] == {"a": {"frames": 2}, "b": {"frames": 4}}
    assert "note" not in entry, "6 samples are enough for 3 features"


def test_pooling_over_frames_and_over_videos(random_weights: WeightStore) -> None:
    real = smooth_frames(6, 32, seed=0)
    worse, better = (255 - real[:1]), np.clip(real[1:].astype(int) + 3, 0, 255).astype(np.uint8)
    clips = [ScoredClip("one", worse, real[:1], None), ScoredClip("five", better, real[1:], None)]
    frames = run(networks(random_weights), ["ssim"], clips)
    videos = run(networks(random_weights), ["ssim"], clips, "protocol.pooling=videos")
    own = frames["clips"]
    assert frames["metrics"]["ssim"]["value"] == pytest.approx((own["one"]["ssim"] + 5 * own["five"]["ssim"]) / 6)
    assert videos["metrics"]["ssim"]["value"] == pytest.approx((own["one"]["ssim"] + own["five"]["ssim"]) / 2)


def test_what_cannot_be_computed_is_missing_and_the_rest_goes_on(
    random_weights: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eval.networks.weights, "MINI_WEIGHTS", tmp_path)
    frames = smooth_frames(3, 32, seed=0)
    names = ["ssim", "clip-i", "fvd", "clip-t-mini"]
    result = run(networks(random_weights), names, [ScoredClip("short", frames, frames, None)])
    assert "reference=<image>" in result["missing"]["clip-i"]
    assert "at least 16 frames, got one of 3" in result["missing"]["fvd"]
    assert "mini-clip is not in this copy" in result["missing"]["clip-t-mini"]
    assert list(result["metrics"]) == ["ssim"] and list(result["missing"]) == names[1:]
    with pytest.raises(UserError, match="two clips are called short"):
        run(networks(random_weights), ["ssim"], [ScoredClip("short", frames, frames, None)] * 2)
    with pytest.raises(
        UserError, match=r"metrics must be some of paper, disco, modern, all, ssim, psnr.*got ssim, niqe"
    ):
        ScoreSettings(metrics=("ssim", "niqe"), protocol=protocol())
    without_real = run(networks(random_weights), ALL, [ScoredClip("a", frames, None, None)])
    assert set(without_real["missing"]) == set(ALL) - {"clip-t"}


def test_frames_too_small_for_a_metric_lack_it_and_the_rest_goes_on(random_weights: WeightStore) -> None:
    for side, lost in ((31, []), (30, ["lpips"]), (10, ["ssim", "lpips"])):
        frames = smooth_frames(2, 64, seed=0)[:, :side]
        result = run(networks(random_weights), ["ssim", "psnr", "lpips"], [ScoredClip("a", frames, frames, None)])
        assert list(result["missing"]) == lost and "psnr" in result["metrics"]
    assert "needs frames of at least 31 pixels a side, got 64x10" in result["missing"]["lpips"]


def test_mini_judges_answer_under_their_own_names_only(
    random_weights: WeightStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder as `src.pretrain` exports it: half precision, safetensors."""
    published = random_weights.hub_folder("openai/clip-vit-base-patch32")
    CLIPModel.from_pretrained(published).half().save_pretrained(tmp_path / "mini-clip")
    CLIPImageProcessor.from_pretrained(published).save_pretrained(tmp_path / "mini-clip")
    monkeypatch.setattr(eval.networks.weights, "MINI_WEIGHTS", tmp_path)
    frames = smooth_frames(3, 48, seed=0)
    names = ["clip-t", "clip-i-mini", "clip-t-mini"]
    result = run(networks(WeightStore(tmp_path, download=False)), names, [ScoredClip("a", frames, frames, frames[0])])
    assert list(result["metrics"]) == names[1:] and list(result["missing"]) == ["clip-t"]
    assert result["metrics"]["clip-t-mini"]["network"]["name"] == "mini-clip"
    assert 0 < result["metrics"]["clip-t-mini"]["value"] <= 1


def test_a_network_that_returns_nan_stops_the_run(random_weights: WeightStore) -> None:
    judges = networks(random_weights)
    with torch.no_grad():
        judges.lpips("alex", (-1.0, 1.0)).model.lin0.model[1].weight.fill_(torch.nan)
    frames = smooth_frames(2, 48, seed=0)
    with pytest.raises(UserError, match="LPIPS is not finite"):
        run(judges, ["lpips"], [ScoredClip("a", frames, frames, None)])


def test_the_extractor_must_be_the_protocols(random_weights: WeightStore) -> None:
    frames = smooth_frames(2, 32, seed=0)
    with pytest.raises(UserError, match=r"takes poses by mediapipe, but pose=dwpose"):
        run(
            networks(random_weights),
            ["ssim"],
            [ScoredClip("a", frames, frames, None)],
            "protocol.mse_p.extractor=mediapipe",
        )


def test_score_of_folders_has_the_promised_shape(tmp_path: Path, call_main) -> None:
    real = smooth_frames(12, 32, seed=0)
    write_frames(tmp_path / "real", real)
    write_frames(tmp_path / "generated", np.clip(real.astype(int) + 2, 0, 255).astype(np.uint8))
    options = [f"generated={tmp_path}/generated", f"real={tmp_path}/real", "metrics=[ssim,psnr,fvd]"]
    options += ["download=false", f"weights={tmp_path}", "device=cpu", f"output={tmp_path}/out.json"]
    assert call_main(main, *options)[0] == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["metrics"]["psnr"]["frames"] == 12
    assert result["metrics"]["psnr"]["value"] == pytest.approx(20 * math.log10(255 / 2), abs=0.2)
    assert set(result["missing"]) == {"fvd"} and "i3d_torchscript.pt is absent" in result["missing"]["fvd"]
    assert result["protocol"]["name"] == "paper" and result["sizes"] == ["32x32"]
    assert set(result["clips"]["generated"]) == {"frames", "ssim", "psnr"}


def test_of_which_clips_a_metric_is_or_is_not_is_told(tmp_path: Path, call_main, monkeypatch) -> None:
    """One shows no hand; one frame does not flicker, and a mean of the others would be another metric."""
    monkeypatch.setenv("COLUMNS", "200")
    xy = np.random.default_rng(0).uniform(0.2, 0.8, (2, NUM_KEYPOINTS, 2))
    seen = np.ones((2, NUM_KEYPOINTS), bool)
    for name, frames, body in (("anna", 2, NUM_KEYPOINTS), ("ben", 1, 18)):
        mask = seen & (np.arange(NUM_KEYPOINTS) < body)
        write_frames(tmp_path / "clips" / name, smooth_frames(frames, 32, seed=0))
        (tmp_path / "poses").mkdir(exist_ok=True)
        save_poses(tmp_path / f"poses/{name}.npz", PoseSequence(xy, seen, mask)[:frames])
    given = ("clips", "clips", "poses=poses", "metrics=[psnr-hands,flicker]", "device=cpu", "output=out.json")
    status, told = call_main(main, *given)
    assert status == 0 and "of 1 of 2 clips, without ben" in told, told
    assert "missing │ clip ben: flicker compares consecutive frames and needs at least 2, got 1" in told
    assert call_main(report_main, "results=out.json", "output=report")[0] == 0
    assert "PSNR-hands is of 1 of 2 clips, without ben" in (tmp_path / "report/tables.md").read_text()


def test_a_result_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path, call_main) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for output, told in (("folder", "folder is a folder, and a file is"), ("file/x.json", "file/x.json cannot be")):
        status, line = call_main(main, "generated=none", "metrics=[flicker]", f"output={output}")
        assert status == 2 and line.startswith(f"error: {told}"), line


def test_a_missing_pose_extractor_is_told_by_its_cause_and_not_downloaded(
    tmp_path: Path, call_main, monkeypatch
) -> None:
    """Neither its context nor half a sentence; download=false holds for it as for networks."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    write_frames(tmp_path / "a", smooth_frames(2, 32, seed=0))
    sides = [f"generated={tmp_path}/a", f"real={tmp_path}/a", "metrics=[mse-p]", "device=cpu", "output=out.json"]
    status, told = call_main(main, *sides, "download=false")
    assert status == 0 and "Downloading" not in told
    (row,) = [line for line in told.splitlines() if "MSE-P" in line and "│" in line]
    assert "DWPose's weights are not there" in row and "clip a" not in row
    assert "download=false forbids fetching it" in json.loads((tmp_path / "out.json").read_text())["missing"]["mse-p"]


def test_an_extractor_without_weights_takes_no_other_metric_with_it(tmp_path: Path, call_main) -> None:
    """Nor where what is done is kept, under a name that says which weights judged."""
    write_frames(tmp_path / "a", smooth_frames(2, 32, seed=0))
    sides = [f"generated={tmp_path}/a", f"real={tmp_path}/a", "metrics=[ssim,mse-p]", "device=cpu", "output=out.json"]
    status, told = call_main(main, *sides, "pose.detector=nowhere.onnx", "resume=kept")
    assert status == 0, told
    result = json.loads((tmp_path / "out.json").read_text())
    assert set(result["metrics"]) == {"ssim"} and "nowhere.onnx" in result["missing"]["mse-p"]


def test_what_is_missing_has_no_share_that_was_found(random_weights: WeightStore) -> None:
    class NobodyInTheDark(BrightestPoint):
        def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
            frames = list(frames)
            if not frames[0].any():
                raise NobodyFound("nobody")
            return super().extract(frames, total=total)

    judges = Networks(random_weights, extractor=NobodyInTheDark(), device=torch.device("cpu"), batch_size=8)
    seen, dark = smooth_frames(2, 32, seed=0), np.zeros((2, 32, 32, 3), np.uint8)
    result = run(judges, ["mse-p"], [ScoredClip("a", seen, seen, None), ScoredClip("b", dark, dark, None)])
    assert set(result["missing"]) == {"mse-p"} and result["found"] == {}


@pytest.mark.parametrize(
    ("option", "first"), [("protocol.mse_p.extractor=mediapipe", "mediapipe"), ("pose=mediapipe", "mediapipe")]
)
def test_of_two_extractors_the_one_that_was_asked_for_is_offered_first(
    option: str, first: str, tmp_path: Path, call_main
) -> None:
    write_frames(tmp_path / "a", smooth_frames(2, 32, seed=0))
    status, told = call_main(main, f"generated={tmp_path}/a", f"real={tmp_path}/a", "metrics=[mse-p]", option)
    pair = "pose={0} protocol.mse_p.extractor={0}"
    assert status == 2 and f"in both, {pair.format(first)}, or {pair.format('dwpose')}" in told


def test_keypoints_of_a_file_judge_no_generated_frame(tmp_path: Path, call_main) -> None:
    """They would be those of both sides: the best value, whatever was generated."""
    for side, seed in (("generated", 0), ("real", 1)):
        write_frames(tmp_path / side, smooth_frames(2, 32, seed=seed))
    save_poses(tmp_path / "p.npz", BrightestPoint().extract(smooth_frames(2, 32, seed=1)))
    poses = ("pose=file", f"pose.path={tmp_path}/p.npz", "protocol.mse_p.extractor=file")
    options = (f"generated={tmp_path}/generated", f"real={tmp_path}/real", *poses, f"output={tmp_path}/out.json")
    assert call_main(main, *options, "metrics=[mse-p,oks-body,ssim]")[0] == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert set(result["metrics"]) == {"ssim"}
    assert all("looks at no frames" in result["missing"][name] for name in ("mse-p", "oks-body"))


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Hydra points the root logger at this test's streams; put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("own_logging")
def test_the_command_writes_json_and_reports_a_mismatch_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(tmp_path / "a", smooth_frames(3, 32, seed=0))
    write_frames(tmp_path / "short" / "a", smooth_frames(2, 32, seed=0))
    command = ["score", f"generated={tmp_path}/a", "metrics=[psnr]", "device=cpu"]
    monkeypatch.setattr(sys, "argv", [*command, f"real={tmp_path}/a", f"output={tmp_path}/out.json"])
    main()
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["metrics"]["psnr"] == {"value": "inf", "frames": 3, "identical": 3}
    assert written["missing"] == {}
    monkeypatch.setattr(sys, "argv", [*command, f"real={tmp_path}/a"])
    main()
    assert json.loads(capsys.readouterr().out)["metrics"] == written["metrics"]
    monkeypatch.setattr(sys, "argv", [*command, f"real={tmp_path}/short"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: clip a: 3 generated frames")


def test_importing_the_registry_loads_no_metric_and_no_network() -> None:
    """Tables read it, and need to start quickly."""
    loaded = (
        "import sys, eval.metrics.registry; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'lpips')])"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("key", REGISTRY)
def test_every_metric_has_a_file_and_a_docstring_that_says_range_and_source(key: str) -> None:
    module, _, name = REGISTRY[key].implementation.partition(":")
    metric = getattr(importlib.import_module(f"eval.metrics.{module}"), name)
    # What a clip weighs in the mean.
    assert (getattr(metric, "unit", "") == "videos") == (REGISTRY[key].weighs == "videos")
    text = metric.__doc__
    for word in ("Range", "is better", "Resolution", "Colour", "Pooling", "Network", "Source"):
        assert word in text, f"{key} does not say its {word}"
    assert ("higher is better" in text) == REGISTRY[key].higher_is_better
