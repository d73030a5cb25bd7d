"""Quality against seconds: the front, and when a sweep shows it."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from eval.benchmark.replicates import merge_seeds
from eval.reporting import pareto
from eval.reporting.pareto import Panel, Point, front, panels_of, write_pareto
from eval.reporting.results import Result, load_results
from tests.eval.reporting.test_tables import write_result


def variants(folder: Path, **seconds: float | None) -> list[Result]:
    """A result of each variant, each slower one 1 dB better and 0.1 of FVD worse."""
    for shift, (variant, took) in enumerate(seconds.items()):
        write_result(
            folder / f"{variant}.json",
            **{"benchmark": "mine", "variant": variant, "seconds": {"fine_tune": 9.0, "sample": took}},
            metrics={"psnr": {"value": 30.0 + shift, "frames": 50}, "fvd": {"value": 9.0 + shift / 10}},
            missing={},
            clips={"s1": {"frames": 10, "psnr": 30.0 + shift}},
        )
    return load_results([folder])


@pytest.mark.parametrize(("higher", "expected"), [(True, ["a", "c"]), (False, ["b"])])
def test_the_front_is_what_none_is_both_quicker_and_better_than(higher, expected):
    points = (Point("c", 4.0, 9.0), Point("d", 4.0, 7.0), Point("a", 1.0, 8.0), Point("b", 1.0, 6.0))
    assert [point.label for point in front(Panel("", points, higher))] == expected


def test_a_panel_a_metric_where_seconds_differ(tmp_path, monkeypatch):
    panels = panels_of(variants(tmp_path, quick=1.0, slow=2.0))
    assert [(panel.title, panel.higher_is_better) for panel in panels] == [("PSNR", True), ("FVD", False)]
    assert [len(front(panel)) for panel in panels] == [2, 1]
    assert [(point.label, point.seconds) for point in panels[0].points] == [("quick", 1.0), ("slow", 2.0)]
    drawn: list[Figure] = []
    monkeypatch.setattr(pareto, "Figure", lambda **options: drawn.append(Figure(**options)) or drawn[-1])
    assert Image.open(write_pareto(panels, tmp_path / "seconds.png", seconds="seconds")).width > 800
    first, second = drawn[0].axes
    assert not [*first.texts, *second.texts], "names at the points would lie on each other"
    assert [text.get_text() for text in drawn[0].legends[0].texts][:2] == ["quick", "slow"]
    assert second.get_title() == "FVD ↓ (upside down: better is up)" and second.yaxis_inverted()


@pytest.mark.parametrize("quick", [1.9, None, 0.0])
def test_no_panel_where_seconds_are_alike_or_unknown(tmp_path, quick):
    assert panels_of(variants(tmp_path, quick=quick, slow=2.0)) == []


def test_seconds_of_seeds_are_their_mean(tmp_path):
    (merged,) = merge_seeds(variants(tmp_path, **{"seed=0": 1.0, "seed=1": 3.0}))
    assert merged.seconds == {"sample": 2.0}
