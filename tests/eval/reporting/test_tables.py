"""Tables, intervals and the page."""

import csv
import http.server
import io
import json
import queue
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eval.metrics.registry import REGISTRY
from eval.report import main as report_main
from eval.reporting.intervals import mean_estimate
from eval.reporting.page import worst_first, write_report
from eval.reporting.results import load_results
from eval.reporting.settings import PageSettings
from eval.reporting.tables import PUBLISHED, Cell, build_tables
from eval.reporting.writers import format_cell, to_csv, to_json, to_latex, to_markdown
from eval.scoring.protocol import Protocol
from src.common.digests import arrays_sha256
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.common.typed import plain, typed
from src.media.video import read_video, write_frames
from src.pose.extractors.dwpose import DWPoseExtractor
from tests.eval.conftest import smooth_frames

PAPER = yaml.safe_load((CONF_DIR / "protocol" / "paper.yaml").read_text())


THREE = {
    "tiktok_001": {"frames": 10, "ssim": 0.9, "psnr": "inf"},
    "tiktok_002": {"frames": 10, "ssim": 0.7, "psnr": "inf"},
    "tiktok_003": {"frames": 10, "ssim": 0.8, "psnr": "inf"},
}
TEN = {
    f"tiktok_{index:03d}": {"frames": 100, "ssim": 0.8 + 0.1 * (index - 2) * (index <= 3), "psnr": "inf"}
    for index in range(1, 11)
}


def write_result(path: Path, **changes: object) -> None:
    result = {
        "benchmark": "tiktok",
        "method": "posecrafter",
        "num_frames": 8,
        "protocol": PAPER,
        "metrics": {
            "ssim": {"value": 0.8, "frames": 30},
            "psnr": {"value": "inf", "frames": 30},
            "fvd": {"value": 500.0, "frames": 30, "note": "too few samples"},
        },
        "missing": {"fid": "no network"},
        "clips": TEN,
        "sizes": ["512x512"],
        "dataset": {"expected": 10},
    }
    if isinstance(files := changes.get("files"), dict):
        result["inputs"] = {clip: sums_of(sides) for clip, sides in files.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result | changes))


def sums_of(sides: dict[str, str]) -> dict[str, str]:
    """What the scorer records of the videos of a clip; of those that are gone any checksum."""
    there = {side: path for side, path in sides.items() if Path(str(path)).exists()}
    sums = {f"{side}_sha256": arrays_sha256(read_video(path).frames) for side, path in there.items()}
    return {f"{side}_sha256": "0" * 64 for side in sides} | sums


def test_what_is_written_is_utf8_whatever_the_locale_is(tmp_path: Path, monkeypatch) -> None:
    write_result(tmp_path / "result.json")
    write_text, encodings = Path.write_text, []

    def watched(path: Path, data: str, encoding: str | None = None, **others: Any) -> int:
        encodings.append(encoding)
        return write_text(path, data, encoding, **others)

    monkeypatch.setattr(Path, "write_text", watched)
    write_report(build_tables(load_results([tmp_path / "result.json"])), tmp_path / "report", PageSettings())
    assert set(encodings) == {"utf-8"}


def test_published_tables_are_complete() -> None:
    published = yaml.safe_load(PUBLISHED.read_text())
    assert [len(published[name]) for name in ("tiktok", "ted")] == [7, 5]
    for row in published["tiktok"] + published["ted"]:
        assert len(row) == 3 + 8
    best = published["tiktok"][-1]
    assert (best["num_frames"], best["ssim"], best["mse-p"], best["fvd"]) == (32, 0.786, 4.05e-3, 362.09)


def test_a_measured_row_stands_below_the_published_ones_with_its_differences(tmp_path: Path) -> None:
    write_result(tmp_path / "a" / "results.json")
    (table,) = build_tables(load_results([tmp_path]))
    assert [row.published for row in table.rows] == [True] * 7 + [False]
    row = table.rows[-1]
    assert row.cells["ssim"].difference == pytest.approx(0.8 - 0.765)
    assert row.cells["fvd"].difference == pytest.approx(500 - 440.49)
    low, high = row.cells["ssim"].interval
    assert 0.7 <= low < 0.8 < high <= 0.9
    assert row.cells["fvd"].interval is None and row.cells["psnr"].interval is None
    assert row.missing == {"fid": "no network"} and row.subjects == 10
    notes = " ".join(table.notes)
    assert "FVD: too few samples" in notes and "FID is missing: no network" in notes
    assert "Tables 1 and 2" in notes and "partial" not in notes and "not compared" not in notes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": PAPER | {"pooling": "videos"}}, r"protocol paper-changed-\w+ is not the paper's \(pooling"),
        ({"protocol": PAPER | {"mse_p": {"extractor": "mediapipe"}}}, "mse_p.extractor: mediapipe | dwpose"),
        ({"sizes": ["64x64"]}, "frames of 64x64, not 512x512"),
        ({"clips": {clip: values | {"frames": 5} for clip, values in TEN.items()}}, "10 subjects with other than 100"),
        ({"clips": THREE}, "3 of 10 subjects"),
        ({"model": "mini"}, "model=mini: a stand-in"),
    ],
)
def test_what_is_not_measured_as_in_the_paper_is_not_compared_with_it(
    changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    write_result(tmp_path / "a" / "results.json", **changes)
    (table,) = build_tables(load_results([tmp_path]))
    assert all(cell.difference is None for cell in table.rows[-1].cells.values())
    (note,) = [note for note in table.notes if "not compared with the published row" in note]
    assert re.search(reason.replace("|", r"\|"), note), note


@pytest.mark.parametrize(("threshold", "compared"), [(0.3, True), (0.9, False)])
def test_poses_by_another_threshold_are_not_compared_with_the_paper(
    threshold: float, compared: bool, tmp_path: Path
) -> None:
    """Of keypoints that are sure alone MSE-P is small."""
    extractor = DWPoseExtractor(detector="https://d.zip", estimator="https://e.zip", confidence_threshold=threshold)
    network = {"name": extractor.name, "fingerprint": extractor.fingerprint()}
    metrics = {"mse-p": {"value": 1e-3, "frames": 30, "network": network}, "ssim": {"value": 0.8, "frames": 30}}
    write_result(tmp_path / "a" / "results.json", metrics=metrics)
    (table,) = build_tables(load_results([tmp_path]))
    poses, similarity = (table.rows[-1].cells[name] for name in ("mse-p", "ssim"))
    assert (poses.difference is not None) == compared and similarity.difference is not None
    assert compared or "from a confidence of 0.9 on, not 0.3" in (poses.note or "")


def test_nothing_in_a_result_is_resolved_or_trusted(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", benchmark="${oc.env:HOME}", method="mine")
    assert load_results([tmp_path])[0].benchmark == "${oc.env:HOME}"
    for changes, message in (
        ({"clips": {"a": {"frames": "many"}}}, "clips.a.frames"),
        ({"files": {"a": {"real": ["x"]}}}, "files.a.real"),
        ({"metrics": {"ssim": {"value": True}}}, "no value that is a number"),
        ({"num_frames": "8"}, "num_frames"),
    ):
        write_result(tmp_path / "r.json", **changes)
        with pytest.raises(UserError, match=message):
            load_results([tmp_path])


def test_partial_data_are_said(tmp_path: Path) -> None:
    clips = {"tiktok_001": TEN["tiktok_001"] | {"frames": 1}, "tiktok_002": TEN["tiktok_002"]}
    write_result(tmp_path / "a" / "results.json", clips=clips, dataset={"expected": 10, "expected_frames": 100})
    notes = " ".join(build_tables(load_results([tmp_path]))[0].notes)
    assert "partial, 2 of 10 subjects" in notes
    assert "fewer held-out frames than the 100 asked for: tiktok_001 1" in notes


def test_a_baseline_that_is_asked_for_stands_before_the_published_rows(tmp_path: Path, call_main) -> None:
    lower = {clip: values | {"ssim": values["ssim"] - 0.1} for clip, values in TEN.items()}
    write_result(tmp_path / "in/a.json", method="controlvideo", clips=lower)
    write_result(tmp_path / "in/b.json")
    assert (
        call_main(report_main, f"results={tmp_path}/in", "output=out", "num_videos=0", "baseline=controlvideo (8)")[0]
        == 0
    )
    (table,) = json.loads((tmp_path / "out/tables.json").read_text())
    found = {row["label"]: row["metrics"]["ssim"]["difference"] for row in table["rows"] if not row["published"]}
    assert found == {"controlvideo": None, "posecrafter": pytest.approx(0.1)}
    assert any("difference from controlvideo (8) over the same subjects" in note for note in table["notes"])


def test_rows_over_other_subjects_frames_or_networks_are_marked(tmp_path: Path) -> None:
    inputs = {clip: {"frames": 100, "real_sha256": "0" * 64} for clip in TEN}
    network = {"ssim": {"value": 0.8, "frames": 30, "network": {"name": "n", "fingerprint": "a"}}}
    write_result(tmp_path / "a" / "results.json", benchmark="mine", inputs=inputs, metrics=network)
    other = inputs | {"tiktok_004": {"frames": 100, "real_sha256": "1" * 64}}
    nine = {clip: values for clip, values in TEN.items() if clip != "tiktok_001"}
    second = {"ssim": network["ssim"] | {"network": {"name": "n", "fingerprint": "b"}}}
    write_result(
        tmp_path / "b" / "results.json", benchmark="mine", method="z", inputs=other, clips=nine, metrics=second
    )
    (table,) = build_tables(load_results([tmp_path]), baseline="posecrafter (8)")
    notes = " ".join(table.notes)
    assert "rest on different subjects (9 in common)" in notes
    assert "rest on different test frames of tiktok_004" in notes
    for row in table.rows:
        assert "different networks" in row.cells["ssim"].note and row.cells["ssim"].difference is None


def test_a_difference_leaves_out_subjects_whose_true_frames_are_others(tmp_path: Path) -> None:
    inputs = {clip: {"frames": 100, "real_sha256": "0" * 64} for clip in TEN}
    higher = {clip: values | {"ssim": values["ssim"] + 0.1} for clip, values in TEN.items()}
    higher["tiktok_004"] = higher["tiktok_004"] | {"ssim": 0.0}
    write_result(tmp_path / "a" / "results.json", inputs=inputs)
    write_result(tmp_path / "b" / "results.json", inputs=inputs, clips=higher)
    other = inputs | {"tiktok_004": {"frames": 100, "real_sha256": "1" * 64}}
    write_result(tmp_path / "c" / "results.json", inputs=other, clips=higher)
    first, same, others = (load_results([tmp_path / name])[0] for name in "abc")
    apart = others.difference(first, "ssim")
    assert apart is not None and apart.value == pytest.approx(0.1) and apart.num_subjects == 9
    whole = same.difference(first, "ssim")
    assert whole is not None and whole.value < 0.09 and whole.num_subjects == 10


def test_other_weights_of_one_network_are_another_table(tmp_path: Path) -> None:
    """Results of before, which do not say what judged them, stay readable and beside the first."""
    for name, checksum in (("a", "1" * 64), ("b", "2" * 64), ("c", "1" * 64), ("d", None)):
        network = {} if checksum is None else {"network": {"name": "i3d-pytorch", "sha256": checksum}}
        metrics = {"fvd": {"value": 500.0, "frames": 30} | network, "ssim": {"value": 0.8, "frames": 30}}
        write_result(tmp_path / name / "results.json", benchmark="mine", method=name, metrics=metrics)
    tables = build_tables(load_results([tmp_path]), baseline="a (8)")
    assert [[row.method for row in table.rows] for table in tables] == [["a", "c", "d"], ["b"]]
    for table, mine in zip(tables, ("11111111", "22222222"), strict=True):
        (note,) = [note for note in table.notes if "other weights of that name" in note]
        assert note.startswith(f"Judged by i3d-pytorch ({mine}…)")
    assert len(build_tables(load_results([tmp_path / "a", tmp_path / "c"]))) == 1


def test_an_interval_belongs_to_the_estimator_of_its_value(tmp_path: Path) -> None:
    """MSE-P pools keypoints: a subject of whom little was found weighs little in the value and in the interval."""
    metrics = {"mse-p": {"value": 0.1, "frames": 200, "seen": 0.5}}
    values, found = [0.1, 0.9, 0.2, 0.3, 0.15], [25_600.0, 2.0, 20_000.0, 25_000.0, 25_600.0]
    clips = {name: {"frames": 100, "mse-p": value} for name, value in zip("abcde", values, strict=True)}
    weights = {name: {"mse-p": weight} for name, weight in zip("abcde", found, strict=True)}
    write_result(tmp_path / "r.json", metrics=metrics, clips=clips, weights=weights, dataset=None)
    (result,) = load_results([tmp_path])
    assert result.interval("mse-p") == mean_estimate(values, found).interval != mean_estimate(values, [1] * 5).interval
    write_result(tmp_path / "r.json", metrics=metrics, clips=clips, dataset=None)
    assert load_results([tmp_path])[0].interval("mse-p") is None, "version 0.1 did not record the weights"
    (table,) = build_tables(load_results([tmp_path]))
    assert "50% found" in to_markdown([table]) and '"found": 0.5' in json.dumps(to_json([table]))


def test_an_interval_is_taken_from_a_result_only_of_what_no_subject_has_a_value_of(tmp_path: Path) -> None:
    metrics = {name: {"value": 0.9, "frames": 200, "interval": [0.89, 0.91]} for name in ("ssim", "fvd", "kid")}
    write_result(tmp_path / "r.json", metrics=metrics, clips={name: {"frames": 20} for name in TEN})
    (result,) = load_results([tmp_path])
    assert [result.interval(name) for name in metrics] == [None, (0.89, 0.91), (0.89, 0.91)]


def test_a_difference_is_the_same_from_either_side(tmp_path: Path) -> None:
    """MSE-P weighs a subject by the keypoints found, which are not as many in both."""
    values = {"a": ([0.1, 0.2, 0.3, 0.2, 0.1], [9, 1, 5, 5, 5]), "b": ([0.2, 0.1, 0.5, 0.3, 0.1], [1, 9, 5, 5, 5])}
    for name, (own, weights) in values.items():
        clips = {clip: {"frames": 100, "mse-p": value} for clip, value in zip("vwxyz", own, strict=True)}
        weigh = {clip: {"mse-p": float(weight)} for clip, weight in zip("vwxyz", weights, strict=True)}
        metrics = {"mse-p": {"value": 0.1, "frames": 200, "seen": 0.5}}
        write_result(tmp_path / f"{name}.json", metrics=metrics, clips=clips, weights=weigh, dataset=None)
    one, other = load_results([tmp_path])
    there, back = one.difference(other, "mse-p"), other.difference(one, "mse-p")
    assert there is not None and back is not None and there.interval is not None and back.interval is not None
    assert there.value == pytest.approx(-back.value) and there.p_value == back.p_value
    assert there.interval == pytest.approx([-end for end in reversed(back.interval)])


def test_a_row_that_begins_with_a_bracket_is_no_option_of_the_one_before(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", method="[face]")
    text = to_latex(build_tables(load_results([tmp_path])))
    assert "\n{}[face] & " in text and "\n[" not in text


def test_what_others_wrote_is_text_everywhere(tmp_path: Path) -> None:
    hostile = "=1+1<img src=x onerror=alert(1)>\n| a |"
    write_result(tmp_path / "a" / "results.json", benchmark="<b>", method=hostile, missing={"fid": hostile})
    tables = build_tables(load_results([tmp_path]))
    markdown = to_markdown(tables)
    assert "<img" not in markdown and "## <b>" not in markdown
    assert all(line.count("| ") < 14 for line in markdown.splitlines())
    for row in csv.DictReader(io.StringIO(to_csv(tables))):
        assert not any(
            str(value).startswith(("=", "+", "-", "@"))
            for key, value in row.items()
            if key in ("label", "method", "note")
        )
    assert "\n| a" not in to_latex(tables)


def test_protocols_and_sizes_never_share_a_table(tmp_path: Path) -> None:
    disco = plain(typed(Protocol, PAPER)) | {"name": "mine", "pooling": "videos"}
    write_result(tmp_path / "a" / "results.json")
    write_result(tmp_path / "b" / "results.json", protocol=disco)
    write_result(tmp_path / "c" / "results.json", sizes=["256x256"])
    write_result(tmp_path / "d" / "results.json", method="disco", num_frames=1)
    tables = build_tables(load_results([tmp_path]))
    assert sorted(sum(not row.published for row in table.rows) for table in tables) == [1, 1, 2]
    write_result(tmp_path / "e" / "results.json")
    labels = [row.label for table in build_tables(load_results([tmp_path])) for row in table.rows]
    assert "posecrafter, a" in labels and "posecrafter, e" in labels


def test_formats_carry_the_same_numbers(tmp_path: Path) -> None:
    write_result(tmp_path / "a" / "results.json")
    tables = build_tables(load_results([tmp_path]))
    markdown, latex = to_markdown(tables), to_latex(tables)
    assert "| PoseCrafter | 32 | paper | 0.786 | 18.56 | 0.233 | 4.05e-3 | 39.65 | 0.854 | 362.09 | 0.922 |" in markdown
    assert r"PoseCrafter & 32 & paper & 0.786 & 18.56 & 0.233 & 4.05e-3 & 39.65 & 0.854 & 362.09 & 0.922 \\" in latex
    assert "500.00 (+59.51)" in markdown and latex.count(r"\midrule") == 2
    rows = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert len(rows) == 7 * 8 + 3 + 1
    mine = {row["metric"]: row for row in rows if row["source"] != "published"}
    sizes = {(row["source"] == "published", row["sizes"]) for row in rows}
    assert sizes == {(True, ""), (False, "512x512")}, "of the table's frames the measured rows alone are"
    assert mine["ssim"]["value"] == "0.8" and mine["fid"]["note"] == "missing: no network"
    assert {row["label"] for row in mine.values()} == {tables[0].rows[-1].label}, "what tells rows apart, here too"
    (table,) = json.loads(json.dumps(to_json(tables), allow_nan=False))
    assert table["rows"][-1]["metrics"]["psnr"]["value"] == "inf"
    assert format_cell("mse-p", Cell(0.00576, (0.001, 0.1), -0.002)) == "5.76e-3 [1.00e-3, 1.00e-1] (-2.00e-3)"


def test_bad_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_results([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no results in"):
        load_results([tmp_path])
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(UserError, match="is not a result"):
        load_results([tmp_path / "other.json"])
    write_result(tmp_path / "r.json", metrics={"niqe": {"value": 1}})
    with pytest.raises(UserError, match="unknown here: niqe"):
        load_results([tmp_path])
    write_result(tmp_path / "r.json", protocol={"name": "x"})
    with pytest.raises(UserError, match=r"r\.json: protocol.resolution is missing"):
        load_results([tmp_path])
    write_result(tmp_path / "r.json", metrics={"ssim": {"frames": 3}})
    with pytest.raises(UserError, match="ssim has no value that is a number"):
        load_results([tmp_path])
    for clip in ({"ssim": 0.8}, {"frames": "inf"}, {"frames": 0}):
        write_result(tmp_path / "r.json", clips={"one": clip})
        with pytest.raises(UserError, match=r"r\.json: clips.one does not say how many frames it has"):
            load_results([tmp_path])
    for told, impossible in (
        ("clips.one.psnr=1e\\+308 must be at least -1e\\+12", {"clips": {"one": {"frames": 1, "psnr": 1e308}}}),
        ("weights.one.psnr=-1.0 must be at least 0", {"weights": {"one": {"psnr": -1.0}}}),
        ("found.one.mse-p=2.0 must be .* at most 1", {"found": {"one": {"mse-p": 2.0}}}),
        ("metrics.psnr has no value that is a number of at most 1e", {"metrics": {"psnr": {"value": 1e308}}}),
        ("dataset.expected=-1", {"dataset": {"expected": -1}}),
    ):
        write_result(tmp_path / "r.json", **impossible)
        with pytest.raises(UserError, match=rf"r\.json: {told}"):
            load_results([tmp_path])
    write_result(tmp_path / "r.json", files={"one": {"generated": "a.mp4"}})
    with pytest.raises(UserError, match="files.one does not name its real frames"):
        load_results([tmp_path])


@pytest.fixture
def page(tmp_path: Path) -> Path:
    files = {}
    for index, name in enumerate(("tiktok_001", "tiktok_002")):
        for seed, side in enumerate(("real", "generated")):
            write_frames(tmp_path / side / name, smooth_frames(8, 32, seed=2 * index + seed))
        files[name] = {side: str(tmp_path / side / name) for side in ("real", "generated")}
    files["tiktok_003"] = {"real": str(tmp_path / "gone"), "generated": str(tmp_path / "gone")}
    write_result(tmp_path / "results" / "a" / "results.json", files=files, clips=THREE)
    write_result(tmp_path / "results" / "b" / "results.json", method="<other>", num_frames=None, clips=THREE)
    results = load_results([tmp_path / "results"])
    write_report(build_tables(results), tmp_path / "report", PageSettings(video_height=64))
    return tmp_path / "report" / "report.html"


def test_the_page_is_self_contained_and_shows_the_worst_first(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:)', text), "no other file and no network"
    assert {file.name for file in page.parent.iterdir()} == {"report.html", "cards", ".cards.json"} | {
        f"tables.{suffix}" for suffix in ("md", "tex", "csv", "json")
    }
    order = re.findall(r"<summary><b>(tiktok_\d+)</b>", text)
    assert order == ["tiktok_002", "tiktok_003", "tiktok_001"], "lowest SSIM first"
    assert text.count("data:video/mp4;base64,") == 2
    assert "no video at" in text, "videos that are gone are said"
    assert "&lt;other&gt;" in text and "<other>" not in text
    results = load_results([page.parent.parent / "results" / "a" / "results.json"])
    assert worst_first(results, "ssim") == order
    measured = ", ".join(name for name in REGISTRY if name in THREE["tiktok_001"])
    with pytest.raises(UserError, match=f"rank_by=clip-t: no subject has a value of it; use one of {measured}$"):
        write_report(build_tables(results), page.parent, PageSettings(num_videos=0, rank_by="clip-t"))


PROBE = """<script>
  addEventListener("load", () => {
    const column = 3, heading = document.querySelector("table.sortable").tHead.rows[0].cells[column];
    const rows = () => [...document.querySelectorAll("table.sortable tbody tr")];
    const values = () => rows().map(row => row.cells[column].dataset.value);
    heading.querySelector("button").click();
    const rising = values();
    heading.querySelector("button").click();
    const video = document.querySelector("video");
    const step = () => {
      document.querySelector("button[data-step='1']").click();
      video.addEventListener("seeked", () => fetch("/", {method: "POST", body: JSON.stringify({
        rising, falling: values(), heading: heading.textContent, duration: video.duration, time: video.currentTime,
        width: video.videoWidth, error: video.error})}), {once: true});
    };
    video.preload = "auto";
    if (video.readyState >= 2) step();
    else video.addEventListener("loadeddata", step);
  });
</script></body>"""


def seen_in_a_browser(page: str, probe: str, profile: Path) -> dict[str, Any]:
    """What a probe, a script that posts JSON to `/`, sees of a page in Chromium; skips where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    text = page.replace("</body>", probe).encode()
    seen: queue.Queue[bytes] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(text)

        def do_POST(self) -> None:
            seen.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", f"--user-data-dir={profile}"]
    chromium = subprocess.Popen(
        [browser, *flags, "--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return json.loads(seen.get(timeout=90))
    finally:
        chromium.terminate()
        chromium.wait()
        server.shutdown()


def test_the_page_works_in_a_browser(page: Path, tmp_path: Path) -> None:
    """Chromium sorts by a click, knows the videos' length and steps by a frame; the page's probe sends what it sees."""
    state = seen_in_a_browser(page.read_text(), PROBE, tmp_path / "profile")
    rising = [float(value) for value in state["rising"]]
    assert state["heading"].startswith("SSIM") and rising == sorted(rising) and len(rising) == 9
    assert state["falling"] == state["rising"][::-1]
    assert state["duration"] == pytest.approx(0.8, abs=0.05) and state["time"] == pytest.approx(0.1, abs=0.02)
    assert state["width"] == 128 and state["error"] is None, "real and generated side by side"


LABELS = """<script>
  addEventListener("load", () => {
    const video = document.querySelector("video");
    const look = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      const context = canvas.getContext("2d");
      context.drawImage(video, 0, 0);
      const box = video.getBoundingClientRect();
      const labels = [...document.querySelectorAll(".columns span")].map(span => {
        const {left, right} = span.getBoundingClientRect();
        // What the video shows below the middle of the label.
        const x = Math.round(((left + right) / 2 - box.left) / box.width * canvas.width);
        const inside = left >= box.left - 1 && right <= box.right + 1;
        return {text: span.textContent, color: [...context.getImageData(x, canvas.height / 2, 1, 1).data], inside};
      });
      fetch("/", {method: "POST", body: JSON.stringify({labels, page: document.documentElement.scrollWidth})});
    };
    // A frame can be drawn once a seek has shown it.
    video.addEventListener("seeked", () => setTimeout(look, 300), {once: true});
    const seek = () => { video.currentTime = 0.15; };
    video.preload = "auto";
    if (video.readyState >= 2) seek();
    else video.addEventListener("loadeddata", seek);
  });
</script></body>"""


def test_labels_stand_over_the_videos_of_their_methods(tmp_path: Path) -> None:
    """However long the caption is, which once made the figure wider than its video and moved the labels."""
    colors = {"real": (220, 30, 30), "first": (30, 220, 30), "second": (30, 30, 220)}
    for name, color in colors.items():
        write_frames(tmp_path / name, np.broadcast_to(np.uint8(color), (4, 64, 64, 3)))
    many = {key: 0.5 for key in REGISTRY}
    for name in ("first", "second"):
        write_result(
            tmp_path / "results" / f"{name}.json",
            method=name,
            num_frames=None,
            benchmark="mine",
            metrics={key: {"value": 0.5, "frames": 4} for key in REGISTRY},
            clips={"a": {"frames": 4, **many}},
            files={"a": {"real": str(tmp_path / "real"), "generated": str(tmp_path / name)}},
        )
    tables = build_tables(load_results([tmp_path / "results"]))
    write_report(tables, tmp_path / "report", PageSettings(video_height=64))
    seen = seen_in_a_browser((tmp_path / "report/report.html").read_text(), LABELS, tmp_path / "profile")
    assert [label["text"] for label in seen["labels"]] == list(colors)
    for label in seen["labels"]:
        assert label["inside"], label
        assert np.abs(np.array(label["color"][:3]) - colors[label["text"]]).max() < 40, label


def test_a_stand_in_is_named_beside_published_rows_and_not_compared(tmp_path: Path) -> None:
    write_result(tmp_path / "a" / "results.json", model="sd15")
    write_result(tmp_path / "b" / "results.json", model="tiny")
    (table,) = build_tables(load_results([tmp_path]))
    real, stand_in = [row for row in table.rows if not row.published]
    assert stand_in.label.endswith("model=tiny") and "model" not in real.label
    assert real.cells["psnr"].difference is not None and stand_in.cells["psnr"].difference is None
    assert any("model=tiny: a stand-in" in note for note in table.notes)


@pytest.mark.parametrize(
    "option",
    ["metrics=[psnr]", "benchmark=tiktok", "wandb=project", "protocol=disco", "protocol.pooling=videos", "pose=mini"],
)
def test_what_goes_with_a_sweep_is_refused_without_one(option: str, tmp_path: Path, call_main) -> None:
    write_result(tmp_path / "a.json")
    name = option.partition("=")[0]
    status, told = call_main(report_main, f"results={tmp_path}/a.json", option)
    assert status == 2 and told.startswith(f"error: {name}") and "goes with sweep=" in told
    assert call_main(report_main, f"results={tmp_path}/a.json", "baseline=nobody")[0] == 2
