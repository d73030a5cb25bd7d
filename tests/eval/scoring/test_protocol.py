"""Every protocol composes, is checked, and is told apart from the others."""

import dataclasses
import json

import pytest
from hydra import compose, initialize_config_dir

from eval.metrics.fvd import clip_starts
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.common.typed import plain, typed

NAMES = sorted(path.stem for path in (CONF_DIR / "protocol").glob("*.yaml"))


def protocol(*overrides: str) -> Protocol:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return typed(Protocol, compose("score", [*overrides]).protocol, "protocol")


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_composes_and_survives_json(name: str) -> None:
    built = protocol(f"protocol={name}")
    assert built.name == name
    assert typed(Protocol, json.loads(json.dumps(plain(built)))) == built
    assert built.differences(built) == []


def test_disco_differs_from_ours_as_documented() -> None:
    assert NAMES == ["disco", "disco_2023", "disco_legacy", "paper"]
    assert protocol("protocol=disco").differences(protocol("protocol=disco_2023")) == ["fvd.drop_last: False | True"]
    legacy = protocol("protocol=disco_2023").differences(protocol("protocol=disco_legacy"))
    assert legacy == ["psnr.arithmetic: float64 | uint8"]
    ours = {line.split(":")[0] for line in protocol().differences(protocol("protocol=disco"))}
    assert ours >= {"ssim.color", "psnr.identical", "lpips.input_range", "lpips.backbone", "fid.network", "fvd.stride"}


@pytest.mark.parametrize(("name", "windows"), [("disco", 85), ("disco_2023", 84), ("disco_legacy", 84), ("paper", 6)])
def test_a_hundred_frames_give_as_many_windows_as_in_the_code_that_is_followed(name: str, windows: int) -> None:
    choice = protocol(f"protocol={name}").fvd
    starts = clip_starts(100, clip_length=choice.clip_length, stride=choice.stride, drop_last=choice.drop_last)
    assert len(starts) == windows
    assert protocol(f"protocol={name}").follows, "whose code, of which date"


def test_the_label_says_where_a_protocol_was_changed() -> None:
    assert protocol().label() == "paper" and protocol("protocol=disco").label() == "disco"
    changed = protocol("protocol.ssim.color=gray")
    assert changed.label().startswith("paper-changed-") and changed.changes() == ["ssim.color: rgb | gray"]
    assert protocol("protocol.name=mine").label().startswith("mine-")


def test_a_name_out_of_the_folder_is_none_that_ships() -> None:
    """A result may come from anyone: no file of that name is looked for."""
    foreign = dataclasses.replace(protocol(), name="../dataset/tiktok")
    assert foreign.changes() == [] and foreign.label().startswith("../dataset/tiktok-")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.ssim.color=blue", "protocol.ssim.color=blue is unknown: choose 'rgb' or 'gray'"),
        ("+protocol.fid.size=299", "protocol.fid.size is unknown: there are network"),
        ("protocol.fvd.clip_length=4", "protocol.fvd.clip_length must be at least 10, got 4"),
        ("protocol.fvd.stride=1.5", "protocol.fvd.stride=1.5: input should be a valid integer"),
        ("protocol.resolution=256", "protocol.resolution and protocol.resize go together"),
        ("protocol.lpips.input_range=[0]", "protocol.lpips.input_range.1 is missing"),
        ("protocol.psnr.identical=true", "protocol.psnr.identical=True is unknown: choose 'exclude'"),
    ],
)
def test_a_wrong_choice_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        protocol(override)
