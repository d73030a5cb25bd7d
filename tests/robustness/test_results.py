"""Results from outside, to the tables: refused in one line, or text and numbers whatever they hold."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eval.reporting.page import write_report
from eval.reporting.results import load_results
from eval.reporting.settings import PageSettings
from eval.reporting.tables import build_tables
from tests.eval.reporting.test_tables import PAPER, TEN
from tests.robustness.malformed import as_json, exchanged, fuzzed, mutated, outcome

RESULT: dict[str, Any] = {
    "benchmark": "tiktok",
    "method": "posecrafter",
    "num_frames": 8,
    "protocol": PAPER,
    "metrics": {
        "ssim": {"value": 0.8, "frames": 30, "interval": [0.7, 0.9]},
        "psnr": {"value": "inf", "frames": 30, "note": "identical"},
        "mse-p": {"value": 0.1, "frames": 30, "found": 0.5},
        "fvd": {"value": 500.0, "frames": 30, "note": "too few samples"},
    },
    "missing": {"fid": "no network"},
    "warnings": ["a"],
    "clips": {name: {**values, "mse-p": 0.1} for name, values in TEN.items()},
    "weights": {name: {"ssim": 1.0, "psnr": 2.0, "mse-p": 30} for name in TEN},
    "inputs": {name: {"frames": 3, "real_sha256": "0" * 64} for name in TEN},
    "found": {name: {"mse-p": 0.5} for name in TEN},
    "files": {name: {"generated": "a.mp4", "real": None} for name in TEN},
    "sizes": ["512x512"],
    "dataset": {"expected": 10},
    "hardware": "CPU",
    "command": "posecrafter score",
}


def test_what_the_fuzzer_starts_from_is_whole(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULT))
    (table,) = build_tables(load_results([tmp_path / "results.json"]))
    assert table.rows[-1].subjects == 10 and set(table.rows[-1].cells) == set(RESULT["metrics"])


@fuzzed
@given(data=st.one_of(exchanged(RESULT).map(as_json), mutated(as_json(RESULT))))
def test_results(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "results.json").write_bytes(data)
    tables = outcome(lambda: build_tables(load_results([tmp_path / "results.json"])))
    if tables is not None:
        # What the reader took, every writer can write.
        write_report(tables, tmp_path / "report", PageSettings(num_videos=0))
