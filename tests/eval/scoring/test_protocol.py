"""Every protocol composes, is checked, and is told apart from the others."""

import json

import pytest
from hydra import compose, initialize_config_dir

from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.common.paths import CONF_DIR

NAMES = sorted(path.stem for path in (CONF_DIR / "protocol").glob("*.yaml"))


def protocol(*overrides: str) -> Protocol:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return Protocol.from_config(compose("score", ["generated=x", *overrides]).protocol)


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_composes_and_survives_json(name: str) -> None:
    built = protocol(f"protocol={name}")
    assert built.name == name
    assert Protocol.from_config(json.loads(json.dumps(built.as_dict()))) == built
    assert built.differences(built) == []


def test_disco_differs_from_ours_as_documented() -> None:
    assert NAMES == ["disco", "disco_legacy", "paper"]
    legacy = protocol("protocol=disco").differences(protocol("protocol=disco_legacy"))
    assert legacy == ["psnr.arithmetic: float64 | uint8"]
    ours = {line.split(":")[0] for line in protocol().differences(protocol("protocol=disco"))}
    assert ours >= {"ssim.color", "psnr.identical", "lpips.input_range", "lpips.backbone", "fid.network", "fvd.stride"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.ssim.color=blue", "protocol.ssim.color must be one of: rgb, gray; got 'blue'"),
        ("+protocol.fid.size=299", "protocol.fid must have exactly the keys network"),
        ("protocol.fvd.clip_length=4", "protocol.fvd.clip_length must be at least 10, got 4"),
        ("protocol.fvd.stride=1.5", "protocol.fvd.stride must be one of: int; got 1.5"),
        ("protocol.resolution=256", "protocol.resolution and protocol.resize go together"),
        ("protocol.lpips.input_range=[0]", "protocol.lpips.input_range must be a list of 2 values"),
        ("protocol.psnr.identical=true", "protocol.psnr.identical must be one of: exclude, float; got True"),
    ],
)
def test_a_wrong_choice_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        protocol(override)
