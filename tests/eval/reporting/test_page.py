"""What the page shows beside tables and labels: plots with one better side, differences, worst frames, slider, keys."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.metrics.registry import REGISTRY
from eval.reporting.forest import forests_of
from eval.reporting.page import PageSettings, write_report
from eval.reporting.results import load_results
from eval.reporting.side_by_side import compare
from eval.reporting.tables import build_tables
from src.media.video import write_frames
from src.people.identity import sample_identity
from src.people.render import render_clip
from src.pose.formats import save_poses
from tests.eval.reporting.test_tables import seen_in_a_browser, write_result

NAMES = [f"s{index}" for index in range(6)]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Two methods on six subjects, one of them with videos; the second is better by every metric."""
    real, poses = render_clip(sample_identity(3), "talk", 4, 64, 3)
    run = tmp_path / "run"
    write_frames(run / "frames", real)
    save_poses(run / "poses.npz", poses, fps=10)
    face = poses.xy[2, 18:86].mean(0) * 64
    for name, noise in (("first", 60), ("second", 20)):
        frames = real.copy()
        x, y = face.astype(int)
        frames[2, y - 3 : y + 4, x - 3 : x + 4] ^= np.uint8(noise)
        write_frames(tmp_path / name, frames)
    for number, name in enumerate(("first", "second")):
        clips = {
            clip: {"frames": 4, "psnr": 20.0 + 3 * number + 0.1 * i, "mse-p": 4e-3 - 2e-3 * number + 1e-4 * i}
            for i, clip in enumerate(NAMES)
        }
        write_result(
            tmp_path / "results" / f"{name}.json",
            **{"benchmark": "mine", "method": name, "num_frames": None, "clips": clips, "variant": name},
            metrics={
                "psnr": {"value": 20.25 + 3 * number, "frames": 24},
                "mse-p": {"value": 4.25e-3 - 2e-3 * number, "frames": 24, "seen": 0.9},
                "fvd": {"value": 100.0, "frames": 24, "clips": 6},
            },
            weights={clip: {"psnr": 4.0, "mse-p": 4.0} for clip in NAMES},
            found={"s0": {"mse-p": 0.75}},
            files={"s0": {"real": str(run / "frames"), "generated": str(tmp_path / name)}},
        )
    tables = build_tables(load_results([tmp_path / "results"]), baseline="first")
    write_report(tables, tmp_path / "report", PageSettings(video_height=64))
    return tmp_path / "report/report.html"


def test_better_is_right_in_every_plot(report: Path) -> None:
    results = load_results([report.parents[1] / "results"])
    (table,) = build_tables(results, baseline="first")
    forests = {forest.metric: forest for forest in forests_of(table)}
    assert set(forests) == {"psnr", "mse-p"}, "no subject has an FVD"
    for forest in forests.values():
        (row,) = forest.rows
        assert row.label == "second" and row.at > forest.zero, "better, so right of zero"
        assert row.bar is not None and row.bar[0] <= row.at <= row.bar[1] and "p = " in row.text
    text = report.read_text()
    assert re.search(r'\(\+3\.00 <span class="whole">\[[-.\d, ]+\]</span>, <span class="whole">p = ', text)
    dots = re.findall(r'class="dot" style="left:([\d.]+)%[^>]*title="(first|second): ', text)
    assert len(dots) == 2 * 2 * len(NAMES)
    lefts = {name: [float(at) for at, who in dots if who == name] for name in ("first", "second")}
    assert max(lefts["first"]) < min(lefts["second"]), "the better method is right of the other by both metrics"


def test_counts_captions_and_worst_frames_are_there(report: Path) -> None:
    text = report.read_text()
    assert "24 frames</small>" in text and "6 windows</small>" in text and "75 % found" in text
    assert '<small title="of the keypoints found">90 % found</small>' in text
    for region in ("face", "hands"):
        found = re.findall(rf"(first|second): worst {region}, frame (\d+), ([\d.]+) dB", text)
        assert not found or [frame for _, frame, _ in found] == ["2", "2"], "the frame that was damaged"
    faces = dict(re.findall(r"(first|second): worst face, frame 2, ([\d.]+) dB", text))
    assert float(faces["first"]) < float(faces["second"])
    poster = re.search(r'poster="data:image/webp;base64,([^"]+)"', text)
    assert poster is not None
    assert Image.open(io.BytesIO(base64.b64decode(poster[1]))).size == (3 * 64, 64)


def test_a_video_of_other_true_frames_is_not_set_beside_these(report: Path) -> None:
    """Its worst frames would be those farthest from what it was never meant to show."""
    results = load_results([report.parents[1] / "results"])
    told = [results[0], replace(results[1], inputs={"s0": {**results[1].inputs["s0"], "real_sha256": "1"}})]
    shown = compare("s0", told, ("first", "second"), height=64)
    assert shown.columns == ("real", "first") and {worst.label for worst in shown.worst} == {"first"}
    assert shown.absent == ("second: scored against other true frames than those that are shown",)


PROBE = """<script>
  addEventListener("load", () => {
    const figure = document.querySelector("figure[tabindex]"), video = figure.querySelector("video");
    const press = key => (document.activeElement || document.body).dispatchEvent(
      new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
    press("j");
    const focused = document.activeElement === figure;
    press("d"); press("s");
    const open = [figure.querySelector("figcaption details").open, figure.querySelector(".pair").open];
    const [left, right] = figure.querySelectorAll(".pair select"), slider = figure.querySelector(".pair input");
    const canvas = figure.querySelector(".pair canvas");
    const color = x => [...canvas.getContext("2d").getImageData(x, 1, 1, 1).data].slice(0, 3);
    const look = () => {
      [left.value, right.value, slider.value] = ["1", "2", "500"];
      slider.dispatchEvent(new Event("input"));
      const both = [color(2), color(canvas.width - 3)];
      const time = video.currentTime;
      press("ArrowRight");
      video.addEventListener("seeked", () => fetch("/", {method: "POST", body: JSON.stringify({
        focused, open, both, size: [canvas.width, canvas.height], step: video.currentTime - time,
        wide: [...document.querySelectorAll("table")].map(table => table.getBoundingClientRect().right),
        page: document.documentElement.scrollWidth, view: innerWidth})}), {once: true});
    };
    video.preload = "auto";
    if (video.readyState >= 2) look();
    else { video.addEventListener("loadeddata", () => setTimeout(look, 200), {once: true}); video.load(); }
  });
</script></body>"""


def test_keys_and_slider_work_and_tables_fit_in_a_browser(tmp_path: Path) -> None:
    colors = {"real": (220, 30, 30), "first": (30, 220, 30), "second": (30, 30, 220)}
    for name, color in colors.items():
        write_frames(tmp_path / name, np.broadcast_to(np.uint8(color), (8, 64, 64, 3)))
    clips = {name: {"frames": 8, **{key: 0.5 + 0.01 * i for key in REGISTRY}} for i, name in enumerate(NAMES)}
    for name in ("first", "second"):
        write_result(
            tmp_path / "results" / f"{name}.json",
            **{"benchmark": "mine", "method": name, "variant": f"{name} with a name that is long, num_frames=8"},
            metrics={key: {"value": 0.5, "frames": 48, "clips": 6} for key in REGISTRY},
            clips=clips,
            weights={clip: dict.fromkeys(REGISTRY, 8.0) for clip in NAMES},
            files={"s0": {"real": str(tmp_path / "real"), "generated": str(tmp_path / name)}},
        )
    results = load_results([tmp_path / "results"])
    write_report(build_tables(results, baseline=results[0].label), tmp_path / "report", PageSettings(video_height=64))
    seen = seen_in_a_browser((tmp_path / "report/report.html").read_text(), PROBE, tmp_path / "profile")
    assert seen["focused"] and seen["open"] == [True, True]
    assert seen["size"] == [64, 64] and seen["step"] == pytest.approx(0.1, abs=0.02)
    for color, name in zip(seen["both"], ("first", "second"), strict=True):
        assert np.abs(np.array(color) - colors[name]).max() < 40, json.dumps(seen)
    assert seen["view"] == 1280 and seen["page"] <= 1280 and max(seen["wide"]) <= 1280, "tables fit"


PHONE = """<script>
  addEventListener("load", () => {
    if (self === top) {
      document.body.innerHTML = '<iframe src="/" style="width:375px;height:900px;border:0"></iframe>';
      return;
    }
    const labels = [...document.querySelectorAll(".forest .plot > span[title]")].map(label => label.clientWidth);
    const page = document.documentElement.scrollWidth;
    fetch("/", {method: "POST", body: JSON.stringify({view: innerWidth, page, labels})});
  });
</script></body>"""


def test_names_can_be_read_on_a_phone_and_the_longest_fits_into_the_page(tmp_path: Path) -> None:
    """Of a forest plot there was a letter of each; one long name made the whole page as wide."""
    names = [f"subject_of_a_name_that_is_not_short_{name}" for name in NAMES]
    clips = {name: {"frames": 8, "psnr": 20.0 + i} for i, name in enumerate(names)}
    for name in ("first", "second", "a_method_of_a_very_long_name_" * 8):
        write_result(
            tmp_path / "results" / f"{name[:9]}.json",
            **{"benchmark": "mine", "method": name, "metrics": {"psnr": {"value": 22.5, "frames": 48}}},
            clips=clips,
            weights={clip: {"psnr": 8.0} for clip in names},
        )
    tables = build_tables(load_results([tmp_path / "results"]), baseline="first (8)")
    write_report(tables, tmp_path / "report", PageSettings(num_videos=0))
    seen = seen_in_a_browser((tmp_path / "report/report.html").read_text(), PHONE, tmp_path / "profile")
    assert seen["page"] <= seen["view"] == 375 and len(seen["labels"]) == 2 and min(seen["labels"]) > 100, seen
