"""A board takes what matches it and refuses all else, on the command line."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from eval import score
from eval.benchmark.leaderboard import read_board, read_submission, untied
from eval.leaderboard import main as leaderboard
from eval.submit_check import main as submit_check
from src.common.errors import UserError
from tests.eval.conftest import smooth_frames

WHO = {
    "method": "<b>ours</b>",
    "authors": ["A. Author"],
    "url": "https://example.org",
    "hardware": "one CPU",
    "command": "posecrafter score GENERATED REAL",
    "bibtex": "@misc{a, title = {A}}",
}


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    real = {name: smooth_frames(4, 32, seed=seed) for seed, name in enumerate(("anna", "ben"))}
    rng = np.random.default_rng(0)
    generated = {name: np.clip(x + rng.normal(0, 9, x.shape), 0, 255).astype(np.uint8) for name, x in real.items()}
    generated["ben"][0] = real["ben"][0]  # one frame of infinite PSNR
    return score(generated, real, metrics=["ssim", "psnr"], device="cpu") | {"benchmark": "two"}


@pytest.fixture
def board(tmp_path: Path, result: dict[str, Any], call_main) -> Path:
    folder = tmp_path / "board"
    (tmp_path / "first.json").write_text(json.dumps(result))
    folder.mkdir()
    status, told = call_main(leaderboard, str(folder), f"start_from={tmp_path}/first.json")
    assert status == 0, told
    submit(folder, "ours", result)
    return folder


def submit(board: Path, name: str, result: dict[str, Any], who: dict[str, Any] = WHO) -> Path:
    (board / name).mkdir(exist_ok=True)
    (board / name / "submission.json").write_text(json.dumps(who))
    (board / name / "result.json").write_text(json.dumps(result))
    return board / name


def test_a_page_is_made_of_all_submissions(board: Path, result: dict[str, Any], call_main) -> None:
    others = result | {"files": {"anna": {"generated": "/etc/passwd", "real": "/etc/passwd"}}}
    submit(board, "other", others, WHO | {"method": "other", "num_frames": 8})
    assert call_main(submit_check, str(board))[0] == 0 and call_main(submit_check, str(board / "ours"))[0] == 0
    status, told = call_main(leaderboard, str(board))
    assert status == 0, told
    page = (board / ".page/report.html").read_text()
    assert "&lt;b&gt;ours" in page and "<b>ours" not in page and "https://example.org" in page
    assert "passwd" not in page, "what others name on their machine is not opened here"
    (table,) = json.loads((board / ".page/tables.json").read_text())
    assert [row["method"] for row in table["rows"]] == ["<b>ours</b>", "other"]
    status, told = call_main(leaderboard, str(board), f"start_from={board}/ours/result.json")
    assert status == 2 and "is there: its submissions rest on it" in told


def test_a_board_of_data_that_nobody_named_is_called_like_its_folder(
    tmp_path: Path, result: dict[str, Any], call_main
) -> None:
    """The result of a pair of folders says neither benchmark nor method."""
    (tmp_path / "first.json").write_text(json.dumps(result | {"benchmark": None, "method": None}))
    (tmp_path / "two-people").mkdir()
    assert call_main(leaderboard, "two-people", "start_from=first.json")[0] == 0
    assert json.loads((tmp_path / "two-people/board.json").read_text())["benchmark"] == "two-people"
    submit(tmp_path / "two-people", "ours", result | {"benchmark": None, "method": None})
    status, told = call_main(leaderboard, "two-people")
    assert status == 0, told
    (table,) = json.loads((tmp_path / "two-people/.page/tables.json").read_text())
    assert [row["label"] for row in table["rows"]] == [WHO["method"]]


def other_protocol(result: dict[str, Any]) -> None:
    result["protocol"]["ssim"]["color"] = "gray"


def other_truth(result: dict[str, Any]) -> None:
    result["inputs"]["ben"]["real_sha256"] = "0" * 64


def better_value(result: dict[str, Any]) -> None:
    result["metrics"]["psnr"]["value"] += 0.01


def fewer_clips(result: dict[str, Any]) -> None:
    for key in ("clips", "inputs", "weights"):
        del result[key]["ben"]


def without_metric(result: dict[str, Any]) -> None:
    del result["metrics"]["ssim"]
    result["missing"]["ssim"] = "no reason"


def other_size(result: dict[str, Any]) -> None:
    result["sizes"] = ["64x64"]


def without_weights(result: dict[str, Any]) -> None:
    result["weights"] = {}
    result["metrics"]["psnr"]["value"] = 99.0


def weights_of_some(result: dict[str, Any]) -> None:
    del result["weights"]["ben"]


def only_the_best_clip(result: dict[str, Any]) -> None:
    del result["clips"]["ben"]["psnr"], result["weights"]["ben"]["psnr"]
    result["metrics"]["psnr"]["value"] = result["clips"]["anna"]["psnr"]


def only_the_best_clip_as_if_some_were_not_seen(result: dict[str, Any]) -> None:
    """A share that PSNR does not have."""
    only_the_best_clip(result)
    result["metrics"]["psnr"]["seen"] = 0.5


def network_of_its_own(result: dict[str, Any]) -> None:
    """Two of these, of one name and two checksums, would never share the board's table."""
    result["metrics"]["psnr"]["network"] = {"name": "n", "sha256": "1" * 64}


def weigh(weight: float) -> Callable[[dict[str, Any]], None]:
    """The worse clip has that weight, and the value is what follows from it."""

    def damage(result: dict[str, Any]) -> None:
        own = {name: clip["ssim"] for name, clip in result["clips"].items()}
        worse = min(own, key=lambda name: own[name])
        assert worse == "anna"
        weights = {name: weight if name == worse else result["weights"][name]["ssim"] for name in own}
        result["weights"][worse]["ssim"] = weight
        total = sum(weights.values())
        result["metrics"]["ssim"]["value"] = sum(weights[name] * own[name] for name in own) / total

    return damage


def without_values(result: dict[str, Any]) -> None:
    """Value and interval would be its word."""
    for own in (*result["clips"].values(), *result["weights"].values()):
        own.pop("ssim")
    result["metrics"]["ssim"] |= {"value": 0.9999, "interval": [0.9998, 1.0]}


def of_frames(metric: str, frames: int) -> Callable[[dict[str, Any]], None]:
    return lambda result: result["metrics"][metric].update(frames=frames)


def no_result(result: dict[str, Any]) -> None:
    del result["weights"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (network_of_its_own, "psnr was judged by another network (111"),
        (other_protocol, "protocol paper-changed-.* not paper (ssim.color: rgb | gray)"),
        (other_truth, "ben was scored against other frames than the board's"),
        (better_value, "psnr is .* but its clips give"),
        (fewer_clips, "clips that lack: ben; that the board does not have: none"),
        (without_metric, "ssim lacks: no reason"),
        (other_size, "frames of 64x64, not 32x32"),
        (without_weights, "psnr of anna, ben has no weight, without which its value cannot be checked"),
        (weights_of_some, "psnr of ben has no weight"),
        (only_the_best_clip, "psnr has no value of ben"),
        (only_the_best_clip_as_if_some_were_not_seen, "psnr has no value of ben"),
        (without_values, "ssim has no value of any clip"),
        (weigh(0), "ssim of anna weighs what none of its frames does"),
        (weigh(0.01), "ssim of anna weighs what none of its frames does"),
        (weigh(5), "ssim of anna weighs what none of its frames does"),
        (weigh(1), "ssim of anna weighs what none of its frames does"),
        (of_frames("ssim", 7), "ssim is said to be of 7 frames, of which the clips have 8"),
        (of_frames("psnr", 800), "psnr is said to be of 800 frames, of which the clips have 8"),
        (no_result, "'weights' is a required property"),
    ],
)
def test_what_does_not_match_is_refused(
    board: Path, result: dict[str, Any], damage: Callable[[dict[str, Any]], None], told: str, call_main
) -> None:
    wrong = json.loads(json.dumps(result))
    damage(wrong)
    submit(board, "wrong", wrong)
    for main, folder in ((submit_check, board), (submit_check, board / "wrong"), (leaderboard, board)):
        status, line = call_main(main, str(folder))
        assert status == 2, main.__module__
    assert all(part in line for part in told.split(".*")), line
    assert call_main(submit_check, str(board / "ours"))[0] == 0


def test_one_submission_that_does_not_match_does_not_take_the_page_from_the_others(
    board: Path, result: dict[str, Any], call_main
) -> None:
    """It is listed with its reason, and the status is 2 all the same."""
    wrong = json.loads(json.dumps(result))
    other_size(wrong)
    submit(board, "wrong", wrong, WHO | {"method": "theirs"})
    status, line = call_main(leaderboard, str(board))
    assert status == 2 and "of 2 submissions 1 does not match, and the page is of the others: wrong: frames" in line
    (table,) = json.loads((board / ".page/tables.json").read_text())
    assert [row["method"] for row in table["rows"]] == [WHO["method"]]
    assert table["notes"][0] == "Not in the table: wrong: frames of 64x64, not 32x32."
    before = (board / ".page/tables.json").read_text()
    submit(board, "ours", wrong)
    status, line = call_main(leaderboard, str(board))
    assert status == 2 and "of 2 submissions 2 do not match" in line
    assert (board / ".page/tables.json").read_text() == before
    shutil.rmtree(board / "wrong")
    for main in (submit_check, leaderboard):
        status, line = call_main(main, str(board))
        assert status == 2 and "of 1 submission 1 does not match" in line


@pytest.mark.parametrize("name", [".page", ".page/cards"])
def test_a_page_is_written_through_no_link(board: Path, name: str, call_main, tmp_path: Path) -> None:
    (tmp_path / "theirs/notes").mkdir(parents=True)
    (tmp_path / "theirs/notes/01_todo.md").touch()
    (board / name).parent.mkdir(exist_ok=True)
    (board / name).symlink_to(tmp_path / "theirs")
    status, line = call_main(leaderboard, str(board))
    assert status == 2 and f"{name} is a link, which is not followed" in line and "say output=<folder>" in line
    assert [path.name for path in (tmp_path / "theirs").rglob("*")] == ["notes", "01_todo.md"]
    # Nor within the board, or where output= leads.
    (tmp_path / "page").mkdir()
    (tmp_path / "page/cards").symlink_to(tmp_path / "theirs")
    status, line = call_main(leaderboard, str(board), f"output={tmp_path}/page")
    assert status == 2 and "page/cards is a link" in line
    assert [path.name for path in (tmp_path / "theirs").rglob("*")] == ["notes", "01_todo.md"]


@pytest.mark.parametrize("name", ["board.json", "ours", "ours/submission.json", "ours/result.json"])
def test_nothing_is_read_through_a_link_of_a_board(board: Path, result, name: str, call_main, tmp_path: Path) -> None:
    """What a refusal quotes of a file goes into the page, and the page is published."""
    secret = submit(tmp_path, "secret", result) if name == "ours" else tmp_path / "secret.json"
    if secret.suffix:
        secret.write_text('["what nobody may read"]')
    shutil.move(board / name, tmp_path / "moved")
    (board / name).symlink_to(secret)
    status, line = call_main(leaderboard, str(board))
    assert status == 2 and f"{name} is a link, which is not followed" in line and "nobody" not in line
    assert call_main(submit_check, str(board))[0] == 2


def test_of_a_million_faults_of_a_result_one_is_looked_at(board: Path, result, monkeypatch) -> None:
    """Each is an object of 10 KB."""
    found = jsonschema.Draft202012Validator.iter_errors

    def first_alone(self, instance):
        yield next(found(self, instance))
        raise AssertionError("a second one was asked for")

    monkeypatch.setattr(jsonschema.Draft202012Validator, "iter_errors", first_alone)
    submit(board, "ours", result | {"clips": {"anna": {"frames": 4, "psnr": "x", "ssim": "y"}}})
    with pytest.raises(UserError, match=r"clips.anna.(psnr: 'x'|ssim: 'y') is not valid"):
        read_submission(board / "ours", read_board(board))


def test_an_interval_that_a_submission_claims_is_not_taken(board: Path, result: dict[str, Any], call_main) -> None:
    """Of what its clips have values of the interval is computed, and of two clips there is none."""
    claimed = json.loads(json.dumps(result))
    value = claimed["metrics"]["ssim"]["value"]
    claimed["metrics"]["ssim"]["interval"] = [value, value]
    submit(board, "ours", claimed)
    assert call_main(leaderboard, str(board))[0] == 0
    (table,) = json.loads((board / ".page/tables.json").read_text())
    assert [row["metrics"]["ssim"]["interval"] for row in table["rows"]] == [None]


def test_what_a_board_does_not_ask_for_is_left_out(board: Path, result: dict[str, Any], call_main) -> None:
    """Metrics of other networks than another submission's, or that are unknown here."""
    for number, network in enumerate(("a", "b")):
        more = json.loads(json.dumps(result))
        more["metrics"]["dreamsim"] = {
            "value": 0.5,
            "frames": 8,
            "network": {"name": "dreamsim", "sha256": network * 64},
        }
        more["missing"]["unheard-of"] = "no weights"
        more["clips"]["anna"]["lpips"] = 0.0  # which nothing checks
        submit(board, f"more{number}", more)
    status, told = call_main(submit_check, str(board))
    assert status == 0, told
    status, told = call_main(leaderboard, str(board))
    assert status == 0, told
    (table,) = json.loads((board / ".page/tables.json").read_text())
    assert len(table["rows"]) == 3 and "dreamsim" not in json.dumps(table["rows"])
    page = (board / ".page/report.html").read_text()
    assert "<b>SSIM</b>" in page and "LPIPS" not in page, "no plot of it either"


@pytest.mark.parametrize(
    ("metric", "most"), [("pck-hands", 8), ("oks-hands", 8), ("pck-body", 4), ("mse-p", 1024), ("psnr-hands", 4)]
)
def test_a_clip_weighs_at_most_what_its_frames_have_values(
    board: Path, result: dict[str, Any], metric: str, most: int
) -> None:
    """Both hands of a frame have one each."""
    more = json.loads(json.dumps(result))
    more["metrics"][metric] = {"value": 0.5, "frames": 4, "seen": 1.0}
    for weight in (most, most + 1):
        for name in more["clips"]:
            more["clips"][name][metric], more["weights"][name][metric] = 0.5, weight
        submit(board, "more", more)
        if weight == most:
            read_submission(board / "more", read_board(board))
    with pytest.raises(UserError, match=f"{metric} of anna, ben weighs what none of its frames does"):
        read_submission(board / "more", read_board(board))


@pytest.mark.parametrize(("metric", "weight"), [("flicker", 4), ("clip-t", 2), ("psnr-hands", 1.5)])
def test_a_video_weighs_one_and_values_are_counted_in_whole_numbers(
    board: Path, result: dict[str, Any], metric: str, weight: float
) -> None:
    """Of a clip of 4 frames: with a weight that is free the mean is whatever suits."""
    more = json.loads(json.dumps(result))
    more["metrics"][metric] = {"value": 0.5, "frames": 8}
    for own in (1, weight):
        for name in more["clips"]:
            more["clips"][name][metric], more["weights"][name][metric] = 0.5, own
        submit(board, "more", more)
        if own == 1:
            read_submission(board / "more", read_board(board))
    with pytest.raises(UserError, match=f"{metric} of anna, ben weighs what none of its frames does"):
        read_submission(board / "more", read_board(board))


def test_a_submission_says_who_made_it(board: Path, result: dict[str, Any], call_main) -> None:
    for who, told in (
        ({key: value for key, value in WHO.items() if key != "hardware"}, "hardware"),
        (WHO | {"authors": []}, "authors is empty"),
        (WHO | {"url": "javascript:alert(1)"}, "is no address"),
        (WHO | {"_target_": "os.system"}, "_target_"),
    ):
        submit(board, "odd", result, who)
        status, line = call_main(leaderboard, str(board))
        assert status == 2 and told in line and line.startswith("error: ")
    status, line = call_main(submit_check, str(board.parent))
    assert status == 2 and "holds no board.json" in line
    (board / "odd/submission.json").unlink()
    status, line = call_main(submit_check, str(board / "odd"))
    assert status == 2 and line.startswith("error: of 1 submission 1 does not match ") and line.endswith(": odd\n")


@pytest.fixture
def beside(result: dict[str, Any]) -> dict[str, Any]:
    """A result with metrics of a reference image and of true poses, and the checksums of both."""
    more = json.loads(json.dumps(result))
    for metric in ("clip-i", "psnr-face"):
        more["metrics"][metric] = {"value": 0.5, "frames": 8}
        for name in more["clips"]:
            more["clips"][name][metric], more["weights"][name][metric] = 0.5, 4
    for number, entry in enumerate(more["inputs"].values()):
        entry |= {"reference_sha256": f"{number}" * 64, "poses_sha256": f"{number + 2}" * 64}
    return more


@pytest.fixture
def tied(tmp_path: Path, beside: dict[str, Any], call_main) -> Path:
    (tmp_path / "beside.json").write_text(json.dumps(beside))
    (tmp_path / "tied").mkdir()
    assert call_main(leaderboard, "tied", "start_from=beside.json")[0] == 0
    submit(tmp_path / "tied", "ours", beside)
    return tmp_path / "tied"


@pytest.mark.parametrize(
    ("key", "metric", "what"),
    [("reference_sha256", "clip-i", "reference image"), ("poses_sha256", "psnr-face", "true poses")],
)
def test_a_reference_or_poses_of_its_own_are_refused(
    tied: Path, beside: dict[str, Any], key: str, metric: str, what: str, call_main
) -> None:
    """They are what the metric compares with, so that one can choose them to score well."""
    assert json.loads((tied / "board.json").read_text())["clips"]["ben"][key] == beside["inputs"]["ben"][key]
    assert call_main(submit_check, str(tied))[0] == 0
    own, unsaid = json.loads(json.dumps(beside)), json.loads(json.dumps(beside))
    own["inputs"]["ben"][key] = "f" * 64
    del unsaid["inputs"]["anna"][key]
    told = {
        "own": (own, f"own: {metric} of ben: the {what} it was measured by is not the board's"),
        "unsaid": (unsaid, f"unsaid: {metric} of anna: inputs does not say the {what} that it was measured by ({key})"),
    }
    for name, (wrong, expected) in told.items():
        submit(tied, name, wrong)
        for main in (submit_check, leaderboard):
            status, line = call_main(main, str(tied))
            assert status == 2
        assert expected in line


def test_a_reference_that_no_metric_of_the_board_needs_is_anybodys(
    board: Path, beside: dict[str, Any], call_main
) -> None:
    submit(board, "more", beside)
    assert set(json.loads((board / "board.json").read_text())["clips"]["ben"]) == {"frames", "real_sha256"}
    assert call_main(submit_check, str(board))[0] == 0


def test_a_board_of_before_is_read_and_says_what_it_cannot_tie(
    tied: Path, beside: dict[str, Any], call_main, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert untied(read_board(tied)) is None
    before = json.loads((tied / "board.json").read_text())
    for clip in before["clips"].values():
        del clip["reference_sha256"], clip["poses_sha256"]
    (tied / "board.json").write_text(json.dumps(before))
    beside["inputs"]["ben"]["reference_sha256"] = "f" * 64
    submit(tied, "own", beside)
    said = "clip-i by any reference image (anna, ben); psnr-face by any true poses (anna, ben)"
    warned: list[str] = []
    monkeypatch.setattr(logging.getLogger("eval.submit_check"), "warning", lambda text, *of: warned.append(text % of))
    assert call_main(submit_check, str(tied))[0] == 0 and call_main(leaderboard, str(tied))[0] == 0
    assert len(warned) == 1 and said in warned[0]
    (table,) = json.loads((tied / ".page/tables.json").read_text())
    assert sum(said in note for note in table["notes"]) == 1
