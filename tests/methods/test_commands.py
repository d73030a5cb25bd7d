"""One picture in, a video out; sizes; the conversion of a pickled file: through the command lines."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import src.convert
import src.info
import src.sample
from src.baselines.conditions import render_parts
from src.media.pictures import read_image
from src.media.video import read_video, write_image, write_video
from src.people.identity import sample_identity
from src.people.parts import render_clip_parts
from src.people.render import render_clip
from tests.baselines.toys import TINY, write_magicanimate

SMALL = ["data.resolution=64", "pose=mini", "trainer=cpu", "trainer.precision=32-true"]
FRAMES = 3


@pytest.fixture
def dance(tmp_path: Path) -> list[str]:
    """A driving video, wider than high, and its DensePose as lossless images of the same size; words that name them."""
    frames, _ = render_clip(sample_identity(4), "talk", FRAMES, 96, 4)
    parts = render_parts(render_clip_parts(sample_identity(4), "talk", FRAMES, 96, 4))
    write_video(tmp_path / "dance.mp4", frames, 10)
    np.savez(tmp_path / "densepose.npz", parts=render_clip_parts(sample_identity(4), "talk", FRAMES, 96, 4))
    write_video(tmp_path / "densepose.mp4", parts, 10)
    return ["poses=dance.mp4"]


def test_a_picture_is_animated(call_main, tmp_path, rendered_picture, dance, magicanimate_options) -> None:
    given = [*magicanimate_options, "model=tiny", f"subject={rendered_picture}", *dance, "condition=densepose.mp4"]
    status, error = call_main(src.sample.main, *given, *SMALL)
    assert status == 0, error
    output = tmp_path / "outputs/me_magicanimate_dance"
    frames = read_video(output / "frames").frames
    assert frames.shape == (FRAMES, 64, 64, 3) and frames.std() > 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["seed"] == 1 and summary["method"]["kind"] == "magicanimate" and summary["stand_in"] == "model=tiny"
    assert summary["sampling"]["sources"] == {"conditions": "frames"}
    assert float(read_video(output / "generated.mp4").fps) == 25
    assert (output / "comparison.mp4").is_file() and not (output / "reference.json").exists()
    # Another condition, another video; the same from an array of parts, nearly the same.
    status, error = call_main(src.sample.main, *given[:-1], "condition=densepose.npz", *SMALL, "output=again")
    assert status == 0, error
    again = json.loads((tmp_path / "again/summary.json").read_text())
    assert again["sampling"]["sources"] == {"conditions": "parts"}


def test_magicanimate_needs_no_pose_controlnet(
    call_main, tmp_path, tiny, rendered_picture, dance, magicanimate_options
) -> None:
    """It has a ControlNet of its own: that of `model=` is not read, nor asked for."""
    for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler"):
        getattr(tiny, name).save_pretrained(tmp_path / "base" / name)
    given = [*magicanimate_options, f"subject={rendered_picture}", *dance, "condition=densepose.npz", *SMALL]
    base = ["model=tiny", "model.random_seed=null", f"model.base={tmp_path}/base", "model.controlnet=nowhere/pose"]
    status, error = call_main(src.sample.main, *given, *base)
    assert status == 0, error
    assert (tmp_path / "outputs/me_magicanimate_dance/generated.mp4").is_file()


def test_disco_films_a_picture(call_main, tmp_path, rendered_picture, dance, disco_options) -> None:
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[:, 8:, 16:48] = 1
    np.savez(tmp_path / "mask.npz", masks=mask)
    given = ["method=disco", *disco_options, f"subject={rendered_picture}", *dance, "mask=mask.npz", *SMALL]
    status, error = call_main(src.sample.main, *given)
    assert status == 0, error
    output = tmp_path / "outputs/me_disco_dance"
    assert read_video(output / "frames").frames.shape == (FRAMES, 64, 64, 3)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["seed"] == 42 and summary["sampling"]["sources"] == {"masks": "file"}
    assert summary["stand_in"].startswith("weights of a UNet of")
    # Another seed, another video; the first command finds its own again.
    assert call_main(src.sample.main, *given, "seed=3")[0] == 0 and call_main(src.sample.main, *given)[0] == 0
    found = {path.name: json.loads((path / "summary.json").read_text())["seed"] for path in output.parent.iterdir()}
    assert found == {"me_disco_dance": 42, "me_disco_dance-2": 3}


def test_a_mask_of_the_whole_picture_is_cut_as_the_picture_is(
    call_main, tmp_path, rendered_picture, dance, disco_options
) -> None:
    """A picture that is higher than wide, of which the middle square counts, and masks of either."""
    picture, square = read_image(rendered_picture), np.zeros((1, 64, 64), np.uint8)
    square[:, 8:, 16:48] = 1
    write_image(tmp_path / "high.png", np.pad(picture, ((10, 20), (0, 0), (0, 0))))
    write_image(tmp_path / "mask.png", np.pad(square[0, ..., None].repeat(3, -1) * 255, ((10, 20), (0, 0), (0, 0))))
    # The middle square of 94 rows begins 15 below the top, five below the picture's.
    np.savez(tmp_path / "cut.npz", masks=np.pad(square, ((0, 0), (0, 5), (0, 0)))[:, 5:])
    given = ["method=disco", *disco_options, f"subject={tmp_path}/high.png", *dance, *SMALL]
    films = []
    for mask in ("mask.png", "cut.npz"):
        status, error = call_main(src.sample.main, *given, f"mask={mask}", f"output=by_{mask}")
        assert status == 0, error
        films.append(read_video(tmp_path / f"by_{mask}/frames").frames)
    assert np.array_equal(*films)
    np.savez(tmp_path / "other.npz", masks=square[:, :60])
    status, error = call_main(src.sample.main, *given, "mask=other.npz")
    assert status == 2 and "other.npz is 64x60 pixels: expected 64x64 as the subject's frames, or 64x94" in error


def test_what_does_not_go_together_is_one_line(
    call_main, tmp_path, rendered_picture, dance, magicanimate_options, disco_options
) -> None:
    """And leaves no folder of a film."""
    animate, disco, me = magicanimate_options, ["method=disco", *disco_options], f"subject={rendered_picture}"
    for words, message in (
        ([*animate, me], "condition= is missing: this method follows a DensePose rendering"),
        ([*animate, "condition=densepose.mp4"], "subject is not set: method=magicanimate takes a picture"),
        ([*animate, me, "condition=densepose.mp4", "mask=x"], "mask=x: this method takes none"),
        ([*animate, me, "condition=densepose.mp4", "model.offload=true"], "model.offload=true: method=magicanimate"),
        *(
            (
                [*animate, me, "condition=densepose.mp4", f"model.{given}"],
                f"model.{given}: method=magicanimate does not",
            )
            for given in ("prediction_type=v_prediction", "zero_terminal_snr=true", "group_norm=frame")
        ),
        ([*disco, me, "condition=densepose.mp4"], "condition=densepose.mp4: this method takes none"),
        ([*disco, me, "run=outputs/x"], "run=outputs/x: method=disco learns no one"),
        ([*disco, me, "trainer.precision=64-true"], "trainer.precision=64-true: method=disco computes in 32-true"),
        ([*animate, me, "condition=densepose.mp4", "trainer.precision=bf16-true"], "precision=bf16-true: method=magic"),
        ([*disco, me, "method.resolution=100"], "method.resolution=100 does not suit this model: use a multiple of 64"),
        (
            [*animate, me, "condition=densepose.mp4", "method.resolution=100"],
            "method.resolution=100 does not suit this model: use a multiple of 64",
        ),
        ([*disco, me, "method.num_steps=400"], "method.num_steps=400 cannot be spaced evenly over 1000 timesteps"),
        (["method=disco_ft", me], "method=disco_ft learns DisCo's cross-attention"),
        ([], "run is not set: give it on the command line as run=VALUE, or method=magicanimate or disco with"),
        (["run=outputs/x", me], "goes with a method that learns no one"),
        (["run=outputs/x", "model.offload=true"], "model=tiny goes with a method that learns no one: a run"),
        (["method=magicanimate", me, "condition=densepose.mp4"], "method=magicanimate needs its weights"),
        ([*animate, me, "condition=densepose.mp4", "model=mini"], "model=mini is not for this command: it comes with"),
    ):
        model = [] if "model=mini" in words else ["model=tiny"]
        status, error = call_main(src.sample.main, *dance, *SMALL, *model, *words)
        assert status == 2 and message in error.splitlines()[-1], (words, error)
    assert not list((tmp_path / "outputs").glob("*_*"))


def test_a_place_that_is_taken_and_a_device_that_is_not_here_are_told_before_anything_is_read(
    call_main, tmp_path, rendered_picture, disco_options
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/generated.mp4").write_text("mine")
    (tmp_path / "broken.mp4").write_text("no video")
    given = ["method=disco", *disco_options, f"subject={rendered_picture}", "poses=broken.mp4", *SMALL]
    status, error = call_main(src.sample.main, *given, "output=mine")
    assert status == 2 and "error: mine holds generated.mp4, which was not written here before" in error
    status, error = call_main(src.sample.main, *given, "trainer.accelerator=cpu", "trainer.devices=[0]")
    assert status == 2 and "error: trainer.accelerator=cpu, devices=[0], precision=32-true cannot be had here" in error


def test_what_overflows_is_no_black_video(call_main, tmp_path, rendered_picture, dance, disco_options) -> None:
    np.savez(tmp_path / "mask.npz", masks=np.ones((1, 64, 64), np.uint8))
    given = ["method=disco", *disco_options, f"subject={rendered_picture}", *dance, "mask=mask.npz", *SMALL]
    status, error = call_main(src.sample.main, *given, "method.guidance_scale=1e38", "output=film")
    assert status == 2 and "the generated frames hold values that are not finite: sampling overflowed" in error
    assert "give a lower method.guidance_scale, trainer.precision=32-true or" in error
    assert not list((tmp_path / "film").glob("*.mp4"))


@pytest.mark.parametrize(
    ("model", "trainable", "unet"), [("magicanimate", 0, 859_520_964), ("disco", 404_953_472, 859_520_964)]
)
def test_sizes_without_weights(call_main, monkeypatch, model, trainable, unet) -> None:
    written: list[str] = []
    monkeypatch.setattr("sys.stdout.write", written.append)
    assert call_main(src.info.main, f"model={model}")[0] == 0
    found = json.loads("".join(written))
    assert (found["model"], found["trainable_parameters"], found["parameters"]["unet"]) == (model, trainable, unet)
    status, error = call_main(src.info.main, f"model={model}", "check=true")
    assert status == 2 and "check=true looks at what a run learns with" in error


def test_the_motion_file_is_converted_once(call_main, monkeypatch, tmp_path) -> None:
    unet = write_magicanimate(tmp_path / "weights", sizes=TINY)
    written: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout.write", written.append)
        assert call_main(src.convert.main, "weights=weights", "model=tiny")[0] == 0
    said = json.loads("".join(written))
    target = tmp_path / "weights/temporal_attention/temporal_attention.safetensors"
    assert said["replaced_tensors"] == 0 and said["tensors_of_the_image_model"] == len(unet.state_dict())
    assert len(load_file(target)) >= said["motion_tensors"] > 0
    status, error = call_main(src.convert.main, "weights=weights", "model=tiny")
    assert status == 2 and "temporal_attention.safetensors is there already: move it away to convert again" in error
