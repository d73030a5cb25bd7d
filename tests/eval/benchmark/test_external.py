"""Exchange with other systems on two rendered subjects: what goes out is read back, what comes back is scored."""

import base64
import functools
import json
import logging
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

import src.data.resolve
from eval.benchmark.run_benchmark import FILE_NAME, run_benchmark
from eval.benchmark.settings import BenchmarkSettings
from eval.reporting.results import load_results
from eval.reporting.tables import build_tables
from src.app.entry import settings_of
from src.baselines.disco.skeletons import draw_skeletons
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.common.typed import plain
from src.data.datasets.tsv import TsvFile, extract_frames, find_clips
from src.data.rendered import people_subject
from src.media.video import read_video, write_frames, write_video
from src.pose.draw import draw_poses
from src.pose.keypoints import BODY_NAMES, NUM_KEYPOINTS, PoseSequence

ONE, TWO = "people_001", "people_007"
SMALL = ["num_frames=2", "data.num_test_frames=3", "data.resolution=64", "prepared_resolution=64"]
SYSTEMS = ("disco", "disco_ft", "magicanimate", "gen2")


# Drawing a person takes longer than all that is tested here.
rendered = functools.cache(people_subject)


@pytest.fixture(autouse=True)
def _draw_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(src.data.resolve, "people_subject", rendered)


def config(folder: Path, *overrides: str) -> BenchmarkSettings:
    where = [f"{key}={folder}/{key}" for key in ("output", "runs", "external", "data.root")]
    fixed = ["benchmark=people", f"subjects=[{ONE},{TWO}]", "method=external", "metrics=[ssim,psnr]", "device=cpu"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return settings_of(BenchmarkSettings, compose("eval", [*fixed, *SMALL, *where, *overrides]))


def run(settings: BenchmarkSettings) -> dict[str, Any]:
    done = run_benchmark(settings, loggers=lambda folder: ())
    return {} if done is None else done[0]


def real_frames(name: str) -> np.ndarray:
    """The last three frames, rendered anew."""
    return rendered(name, resolution=64).frames[-3:]


def decode(text: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def rows(path: Path) -> list[list[str]]:
    file = TsvFile(path)
    return [file.row(index) for index in range(len(file))]


def add_masks(subject: Path, count: int) -> np.ndarray:
    """Masks with the labels of Grounded-SAM; returns the first as black and white."""
    folder = subject / "training/groundsam_vis"
    folder.mkdir(exist_ok=True)
    labels = np.zeros((64, 64), np.uint8)
    labels[10:, 20:40] = 1
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:05d}.png.mask.png"), labels)
    return np.repeat(255 * labels[..., None], 3, axis=2)


def test_frames_that_come_back_are_scored_like_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(tmp_path, "system=gen2")
    assert run(cfg) == {}, "everything waits"
    assert f"{ONE} waits: gen2 has not run: see" in caplog.text and not list((tmp_path / "output").rglob("*.json"))
    root = tmp_path / "external/gen2/people"
    subject = rendered(ONE, resolution=64)
    assert (root / ONE / "prompt.txt").read_text().strip() == subject.prompt
    assert (read_video(root / ONE / "training").frames == subject.frames[:1]).all(), "the reference and nothing else"

    write_frames(root / ONE / "output", real_frames(ONE))
    noisy = real_frames(TWO) // 2
    write_frames(root / TWO / "output", noisy)
    result = run(cfg)
    (path,) = (tmp_path / "output/people").glob(f"gen2-1-paper-*/{FILE_NAME}")
    assert json.loads(path.read_text()) == result
    assert (result["method"], result["num_frames"], result["model"]) == ("gen2", 1, None)
    assert result["clips"][ONE]["psnr"] == "inf" and result["clips"][ONE]["ssim"] == pytest.approx(1)
    squared = ((real_frames(TWO).astype(float) - noisy) ** 2).mean((1, 2, 3))
    assert result["clips"][TWO]["psnr"] == pytest.approx((10 * np.log10(255**2 / squared)).mean(), rel=1e-4)
    assert result["dataset"]["waiting"] == result["dataset"]["failed"] == {}
    assert result["peak_memory_gib"] is None and result["seconds"]["sample"] is None
    generated = Path(result["files"][ONE]["generated"])
    assert (read_video(generated).frames == real_frames(ONE)).all() and (generated.parent / "generated.mp4").is_file()
    [loaded] = load_results([tmp_path / "output"])
    assert loaded.label == "gen2 (1)" and math.isinf(loaded.clips[ONE]["psnr"])

    with monkeypatch.context() as patch:
        patch.setattr("eval.benchmark.run_benchmark.score", None)
        assert run(cfg) == result, "scored before"
    write_frames(root / TWO / "output", real_frames(TWO))
    assert run(cfg)["clips"][TWO]["psnr"] == "inf", "another output is scored anew"


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_commands_are_whole_and_valid_shell(system: str, tmp_path: Path) -> None:
    assert run(config(tmp_path, f"system={system}")) == {}
    [path] = (tmp_path / "external").glob("*/people/COMMANDS.md")
    text = path.read_text()
    assert str(path.parent) in text and "64" in text and not re.search(r"\{\{|\{%|None", text)
    script = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    assert script and subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).returncode == 0


def test_disco_gets_its_tsv_files_and_a_subject_that_waits_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(tmp_path, "system=disco")
    assert run(cfg) == {}
    root = tmp_path / "external/disco/people"
    mask_path = root / ONE / "training/groundsam_vis/00000.png.mask.png"
    assert f"{ONE} waits: add {mask_path}, masks of the person" in caplog.text
    assert (root / "folders.txt").read_text().splitlines() == [str(root / name / "training") for name in (ONE, TWO)]

    mask = add_masks(root / ONE, 1)
    assert run(cfg) == {}
    tsv, subject = root / ONE / "tsv", rendered(ONE, resolution=64)
    names = yaml.safe_load((tsv / "test.yaml").read_text())
    assert names.pop("composite") is False and set(names) == {"img", "poses", "masks", "vid2line", "caption"}
    images, clip_of_row = TsvFile(tsv / names["img"]), TsvFile(tsv / names["vid2line"])
    [clip] = find_clips(images, clip_of_row)
    assert (clip.key, clip.first, clip.last) == (ONE, 0, 3)
    extract_frames(images, clip_of_row, clip, tmp_path / "read")
    assert (read_video(tmp_path / "read").frames == subject.frames[[0, -3, -2, -1]]).all()
    keys = [row[0] for row in rows(tsv / names["img"])]
    assert all([row[0] for row in rows(tsv / name)] == keys for name in names.values())
    ranges = [json.loads(row[1]) for row in rows(tsv / names["vid2line"])]
    assert [[first + i, last + i] for i, (first, last) in enumerate(ranges)] == [[0, 3]] * 4, "relative to the row"
    assert [json.loads(row[1]) for row in rows(tsv / names["caption"])] == [[{"caption": subject.prompt}]] * 4
    assert all(len(row) == 3 and (decode(row[1]) == mask).all() for row in rows(tsv / names["masks"]))
    drawn = np.stack([decode(row[1]) for row in rows(tsv / names["poses"])])
    assert (drawn == draw_skeletons(subject.poses[[0, -3, -2, -1]], 64)).all() and drawn.any((1, 2, 3)).all()
    assert (root / "folders.txt").read_text().splitlines() == [str(root / TWO / "training")]
    for path in tsv.glob("*.tsv"):
        text_index = [int(line) for line in path.with_suffix(".lineidx").read_text().split()]
        assert np.frombuffer(path.with_suffix(".lineidx.8b").read_bytes(), "<u8").tolist() == text_index

    predicted = root / ONE / "output/eval_visu/pred_gs1.5_scale-cond1.0-ref1.0"
    write_frames(predicted, subject.frames[[5, -3, -2, -1]])
    for number, key in enumerate(keys):
        (predicted / f"{number:05d}.png").rename(predicted / f"{key.replace('.', '')}.png")
    caplog.set_level(logging.INFO, "eval.benchmark.external.exchange")
    result = run(cfg)
    assert set(result["clips"]) == {ONE} and result["clips"][ONE]["psnr"] == "inf", "the reference's row is left out"
    assert "disco on people: of 2 subjects 1 is back, 1 waits; what to run: " in caplog.text
    assert set(result["dataset"]["waiting"]) == {TWO} and result["dataset"]["failed"] == {}
    assert result["dataset"]["expected"] == 12 and result["method"] == "disco"

    next(predicted.glob("*2png.png")).unlink()
    with pytest.raises(UserError, match=r"2 of 3 generated frames, people_001_000002png.png is not there"):
        run(config(tmp_path, "system=disco", f"subjects=[{ONE}]"))


def test_disco_is_fine_tuned_on_our_training_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = config(tmp_path, "system=disco_ft", "system.min_rows=5", f"subjects=[{ONE}]")
    subject = tmp_path / "external/disco-finetuned/people" / ONE
    assert run(cfg) == {}
    assert "00000.png.mask.png and 1 more, masks" in caplog.text, "every training frame may be its reference"
    add_masks(subject, 2)
    assert run(cfg) == {}
    person = rendered(ONE, resolution=64)
    images, clip_of_row = (TsvFile(subject / f"tsv/train_{name}.tsv") for name in ("images", "vid2line"))
    [clip] = find_clips(images, clip_of_row)
    assert len(clip) == 6, "whole rounds of the frames"
    shown = np.stack([decode(row[1]) for row in rows(subject / "tsv/train_images.tsv")])
    last_available = len(person) - 3 - 1
    assert (shown == np.tile(person.frames[[0, last_available]], (3, 1, 1, 1))).all()
    poses = np.stack([decode(row[1]) for row in rows(subject / "tsv/train_poses.tsv")])
    assert (poses == np.tile(draw_skeletons(person.poses[[0, last_available]], 64), (3, 1, 1, 1))).all()
    assert len(TsvFile(subject / "tsv/test_images.tsv")) == 4


def test_magicanimate_gets_reference_config_and_needs_densepose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(tmp_path, "system=magicanimate")
    assert run(cfg) == {}
    root = tmp_path / "external/magicanimate/people"
    for name in (ONE, TWO):
        line = f"{name} waits: add {root / name / 'densepose.mp4'}, the DensePose of driving.mp4: 3 frames of 64x64"
        assert line in caplog.text
    assert not (root / "animation.yaml").exists()
    driving = read_video(root / ONE / "driving.mp4")
    assert driving.frames.shape == (3, 64, 64, 3) and float(driving.fps) == 10
    # H.264 halves the colours' resolution, much at 64 pixels; each frame is still nearest to its own.
    error = np.abs(driving.frames[:, None].astype(int) - real_frames(ONE)[None]).mean((2, 3, 4))
    assert error.argmin(1).tolist() == [0, 1, 2] and error.max() < 10
    reference = cv2.imread(str(root / ONE / f"{ONE}.png"))[..., ::-1]
    assert (reference == rendered(ONE, resolution=64).frames[0]).all()

    write_video(root / ONE / "densepose.mp4", driving.frames[:2], 25)
    write_video(root / TWO / "densepose.mp4", driving.frames[:, :32, :32], 25)
    with pytest.raises(UserError, match="no subject of people could be scored") as error:
        run(cfg)
    assert "\n" not in str(error.value)
    assert "densepose.mp4 has 2 DensePose frames where people_001 has 3 test poses" in caplog.text
    assert "densepose.mp4 has DensePose frames of 32x32, expected 64x64" in caplog.text

    write_video(root / ONE / "densepose.mp4", driving.frames, 25)
    (root / TWO / "densepose.mp4").unlink()
    assert run(cfg) == {}
    animation = yaml.safe_load((root / "animation.yaml").read_text())
    assert animation["source_image"] == [str(root / ONE / f"{ONE}.png")]
    assert animation["video_path"] == [str(root / ONE / "densepose.mp4")]
    assert animation["size"] == 64 and animation["max_length"] is None and animation["seed"] == [1]

    (root / "output").mkdir()
    write_video(root / f"output/{ONE}_densepose.mp4", real_frames(ONE), 25)
    result = run(cfg)
    assert 25 < result["clips"][ONE]["psnr"] < 60 and set(result["dataset"]["waiting"]) == {TWO}
    assert any("h264, which loses detail" in warning for warning in result["warnings"])


def test_other_counts_and_sizes_are_refused_and_a_named_resizing_is_not(tmp_path: Path) -> None:
    cfg = config(tmp_path, "system=gen2", f"subjects=[{ONE}]")
    run(cfg)
    output = tmp_path / "external/gen2/people" / ONE / "output"
    write_frames(output, real_frames(ONE)[:2])
    with pytest.raises(UserError, match=r"output has 2 generated frames where people_001 has 3 test poses: make one"):
        run(cfg)
    small = np.ascontiguousarray(real_frames(ONE)[:, ::2, ::2])
    write_frames(output, small)
    with pytest.raises(UserError, match=r"output has generated frames of 32x32, expected 64x64: run the system at"):
        run(cfg)
    at_32 = config(
        tmp_path, "system=gen2", f"subjects=[{ONE}]", "protocol.resolution=32", "protocol.resize=bicubic", "label=small"
    )
    assert run(at_32)["sizes"] == ["32x32"]
    shutil.copy(output / "00000.png", output / "00003.png")
    (output / "00000.png").unlink()
    cv2.imwrite(str(output / "00001.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UserError, match="generated frames of 32x32, 64x64: all of a video must have one size"):
        run(cfg)


def test_an_export_of_other_frames_is_not_scored(tmp_path: Path) -> None:
    run(config(tmp_path, "system=gen2", f"subjects=[{ONE}]"))
    with pytest.raises(UserError, match=r"exported with other settings \(test_frames, poses\): move it away"):
        run(config(tmp_path, "system=gen2", f"subjects=[{ONE}]", "data.num_test_frames=2"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "method=external needs a system: system=disco"),
        (["method=posecrafter", "system=disco"], "system=disco goes with method=external, not with method=posecrafter"),
        (["system=disco", "system.num_frames=3"], r"system.num_frames=3: disco sees the reference \(1\) or all"),
    ],
)
def test_system_and_method_go_together(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        run(config(tmp_path, *overrides))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("system", "num_frames"), [("disco", 1), ("disco_ft", 8), ("magicanimate", 1)])
def test_the_published_row_is_the_one_compared_with(system: str, num_frames: int, tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        given = ["benchmark=tiktok", "dataset.root=x", "method=external", f"system={system}"]
        cfg = settings_of(BenchmarkSettings, compose("eval", given))
    assert cfg.system.num_frames == num_frames
    assert cfg.default_label().startswith(f"{cfg.system.name}-{num_frames}-paper-")
    value: dict[str, Any] = {"benchmark": "tiktok", "method": cfg.system.name, "num_frames": cfg.system.num_frames}
    value |= {"protocol": plain(cfg.protocol), "metrics": {"psnr": {"value": 20.0}}, "missing": {}}
    value |= {"sizes": ["512x512"], "clips": {f"tiktok_{i:03d}": {"frames": 100, "psnr": 20.0} for i in range(10)}}
    (tmp_path / FILE_NAME).write_text(json.dumps(value))
    [table] = build_tables(load_results([tmp_path]))
    assert table.rows[-1].cells["psnr"].difference is not None


def test_skeletons_are_openposes() -> None:
    body = {name: index for index, name in enumerate(BODY_NAMES)}
    xy, mask = np.zeros((2, NUM_KEYPOINTS, 2), np.float32), np.zeros((2, NUM_KEYPOINTS), bool)
    for name, place in {"neck": (0.5, 0.5), "right_shoulder": (0.25, 0.5), "left_ear": (0.75, 0.125)}.items():
        xy[0, body[name]], mask[0, body[name]] = place, True
    xy[0, 50], mask[0, 50] = (0.9, 0.9), True
    drawing, nothing = draw_skeletons(PoseSequence(xy, mask, mask), 256)
    assert drawing[128, 96].tolist() == [153, 0, 0], "the first limb is red, at 0.6 of the brightness"
    assert drawing[32, 192].tolist() == [255, 0, 85] and drawing[32, 197].tolist() == [0, 0, 0], "a dot of 4 pixels"
    assert not drawing[220:].any(), "no face"
    assert not nothing.any(), "nobody seen, nothing drawn"

    person = rendered(TWO, resolution=32).poses[:1]
    bare = PoseSequence(person.xy, person.confidence, person.mask & (np.arange(NUM_KEYPOINTS) < len(BODY_NAMES)))
    ours, library = draw_skeletons(bare, 512)[0].any(-1), draw_poses(bare, 512)[0].any(-1)
    assert (ours & library).sum() > 0.8 * (ours | library).sum(), "the same limbs as controlnet-aux's drawing"
