"""ControlNets beside the pose one: their residuals are summed, as diffusers' MultiControlNetModel sums them."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

from src.common.errors import UserError
from src.common.typed import typed
from src.models.adapter import load_adapter, save_adapter
from src.models.backbone import VideoBackbone
from src.models.build import build_models
from src.models.checkup import check_weights
from src.models.control_images import DETECTORS, DrawnImages, draw_canny, drawer
from src.models.image_model import ImageModel
from src.models.loading import load_image_model, random_controlnet, random_image_model
from src.models.settings import ControlNetSettings, ModelSettings
from tests.conftest import TINY, perturbed
from tests.models.ldm_names import to_ldm_controlnet
from tests.models.loaded import loaded_model
from tests.models.test_backbone import F, make_inputs
from tests.models.test_loading import assert_same_weights, edit_config, save_folder, write

CANNY = ControlNetSettings(path="edges", condition="canny", scale=0.5)


def twin(model: ImageModel, scale: float, seed: int | None = None) -> VideoBackbone:
    """A toy backbone with one more ControlNet: a copy of the pose one, or another of its sizes."""
    beside = random_controlnet("tiny", 0 if seed is None else seed)
    if seed is None:
        beside.load_state_dict(model.controlnet.state_dict())
    own = VideoBackbone(model.unet, model.controlnet, beside=[beside], scales=[scale], conditioning_scale=0.5)
    return perturbed(own)


def images(seed: int, num_frames: int = F) -> torch.Tensor:
    return torch.rand(1, num_frames, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def predict(backbone: VideoBackbone, *texts: torch.Tensor, conditions=()) -> torch.Tensor:
    latents, t, poses, text = make_inputs()
    return backbone(latents, t, backbone.prepare(poses, *(texts or (text,)), conditions=conditions))


def fresh() -> ImageModel:
    return random_image_model("tiny", base="tiny", seed=0)


@torch.no_grad()
def test_one_frame_at_initialisation_is_diffusers_with_several_controlnets_to_the_bit():
    image, other = fresh(), random_controlnet("tiny", 5)
    latents, t, poses, text = make_inputs(num_frames=1)
    edges = images(3, 1)
    several = MultiControlNetModel([image.controlnet, other])
    down, mid = several(latents[0], t, text, [poses[0], edges[0]], [0.7, 0.3], return_dict=False)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    expected = image.unet(latents[0], t, text, **residuals, return_dict=False)[0]
    backbone = VideoBackbone(image.unet, image.controlnet, beside=[other], scales=[0.3], conditioning_scale=0.7).eval()
    found = backbone(latents, t, backbone.prepare(poses, text, conditions=[edges]))
    assert torch.equal(found[0], expected)


def test_a_scale_of_zero_is_as_if_it_were_not_there():
    image = fresh()
    alone = perturbed(VideoBackbone(image.unet, image.controlnet, conditioning_scale=0.5))
    resting = twin(fresh(), 0.0, seed=5)
    assert torch.equal(predict(alone), predict(resting, conditions=[images(3)]))
    assert torch.equal(predict(alone), predict(resting, conditions=[None]))
    assert not torch.equal(predict(alone), predict(twin(fresh(), 0.5, seed=5), conditions=[images(3)]))


def test_two_equal_ones_of_half_the_scale_are_one():
    image = fresh()
    whole = perturbed(VideoBackbone(image.unet, image.controlnet, conditioning_scale=1.0))
    poses = make_inputs()[2]
    # What the pose ControlNet trains the other has not: the comparison is of frozen ones.
    halves = twin(fresh(), 0.5)
    halves.beside[0].load_state_dict(halves.controlnet.state_dict())
    torch.testing.assert_close(predict(halves, conditions=[poses]), predict(whole), rtol=0, atol=2e-5)


@pytest.mark.parametrize("frame_chunk", [1, 2])
def test_chunks_and_prompts_in_turn_change_nothing(frame_chunk):
    backbone = twin(fresh(), 0.8, seed=5)
    text = make_inputs()[-1]
    whole = predict(backbone, text.flip(1), text, conditions=[images(3)])
    with backbone.chunked(frame_chunk), torch.no_grad():
        torch.testing.assert_close(
            predict(backbone, text.flip(1), text, conditions=[images(3)]), whole, rtol=0, atol=2e-5
        )
        latents, t, poses, _ = make_inputs()
        both = backbone.prepare(poses, text.flip(1), text, conditions=[images(3)])
        in_turn = backbone.in_turn(latents, t, [both.prompt(0), both.prompt(1)])
    torch.testing.assert_close(torch.cat(in_turn), whole, rtol=0, atol=2e-5)


def test_some_frames_of_a_clip_have_their_own_images():
    backbone = twin(fresh(), 0.8, seed=5)
    _, _, poses, text = make_inputs()
    which = torch.tensor([3, 1])
    conditioning = backbone.prepare(poses, text, conditions=[images(3)]).frames(which)
    expected = backbone.prepare(poses[:, which], text, conditions=[images(3)[:, which]])
    assert torch.equal(conditioning.controls[0].embedding_BFChw, expected.controls[0].embedding_BFChw)


def test_nothing_of_them_is_trained_and_images_must_be_there():
    image = fresh()
    names = VideoBackbone(image.unet, image.controlnet).trainable_state().keys()
    backbone = twin(fresh(), 0.8, seed=5)
    assert backbone.trainable_state().keys() == names
    with pytest.raises(ValueError, match="were not all given condition images"):
        predict(backbone)


def test_the_adapter_remembers_which_they_were(tmp_path):
    path = tmp_path / "adapter.safetensors"
    image_model, backbone = build_models(replace(TINY, controlnets=[CANNY]))
    save_adapter(path, backbone, base="tiny", additions=image_model.additions)
    load_adapter(path, backbone, base="tiny", additions=image_model.additions)
    for other in ([], [replace(CANNY, scale=0.6)], [replace(CANNY, condition="depth")]):
        model, own = build_models(replace(TINY, controlnets=other))
        with pytest.raises(UserError, match="was trained with model.controlnets="):
            load_adapter(path, own, base="tiny", additions=model.additions)
    model, own = build_models(replace(TINY, controlnets=[CANNY]))
    with torch.no_grad():
        own.beside[0].mid_block.resnets[0].conv1.weight += 1.0
    with pytest.raises(UserError, match="whose weights are not those"):
        load_adapter(path, own, base="tiny", additions=model.additions)


@pytest.mark.parametrize("layout", ["folder", "original names", "names of diffusers"])
def test_they_load_as_the_pose_controlnet_does(layout, tiny, tmp_path):
    base, other = save_folder(tiny, tmp_path / "base"), random_image_model("tiny", base="tiny", seed=7)
    path = str(tmp_path / "edges.safetensors")
    if layout == "folder":
        path = str(tmp_path / "edges")
        other.controlnet.save_pretrained(path)
    else:
        names = to_ldm_controlnet(other.controlnet) if layout == "original names" else other.controlnet.state_dict()
        write(tmp_path / "edges.safetensors", dict(names))
    loaded = loaded_model(str(base), configs="tiny", controlnets=[replace(CANNY, path=path)])
    assert_same_weights(tiny, loaded, "unet", "controlnet")
    expected, found = other.controlnet.state_dict(), loaded.beside[0].state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_one_that_does_not_fit_is_refused_before_any_weight_is_read(tiny, tmp_path):
    base = save_folder(tiny, tmp_path / "base")
    tiny.controlnet.save_pretrained(tmp_path / "net/controlnet")
    edit_config(tmp_path / "net", "controlnet", cross_attention_dim=1024)
    for weights in (tmp_path / "net/controlnet").glob("*.safetensors"):
        weights.write_bytes(b"never read")
    own = [CANNY, replace(CANNY, path=str(tmp_path / "net"))]
    own[0] = replace(CANNY, path=str(base))
    with pytest.raises(UserError, match=r"^model.controlnets\[1\].path=.* is a ControlNet for Stable Diffusion 2"):
        loaded_model(str(base), configs="tiny", controlnets=own)


def test_the_check_lists_them_and_their_detectors(tiny, tmp_path):
    base = str(save_folder(tiny, tmp_path))
    net = str(tmp_path / "controlnet")
    model = ModelSettings(name="own", base=base, configs="tiny", controlnets=[replace(CANNY, path=net)])
    report = check_weights(model)
    assert report["problems"] == [] and report["why"].startswith("UNet and 2 ControlNets")
    assert [file["option"] for file in report["files"]] == ["model.base", "model.controlnets[0].path"]
    (tmp_path / "empty").mkdir()
    soft = replace(CANNY, path=net, condition="softedge", detector=str(tmp_path / "empty"))
    report = check_weights(replace(model, controlnets=[soft]))
    assert report["fits"] is None and "ControlNetHED.pth missing" in report["problems"][0]
    with pytest.raises(UserError, match=r"has no ControlNetHED.pth, which condition=softedge needs"):
        drawer(soft)


def test_random_weights_are_drawn_without_touching_those_of_the_base():
    image_model = load_image_model(replace(TINY, controlnets=[CANNY, CANNY]))
    assert_same_weights(fresh(), image_model, "unet", "vae", "text_encoder")
    one, two = (net.conv_in.weight for net in image_model.beside)
    assert not torch.equal(one, two) and not torch.equal(one, image_model.controlnet.conv_in.weight)


def test_canny_draws_what_changes(people_clip):
    frame = people_clip[0][0]
    edges = draw_canny(frame)
    assert edges.shape == frame.shape and edges.dtype == np.uint8 and set(np.unique(edges)) == {0, 255}


@pytest.mark.parametrize("condition", ["softedge", "pidi"])
def test_soft_edges_are_found_by_a_detector_from_a_local_folder(condition, people_clip, tmp_path):
    """Of random weights, which show that it is read and called right; a damaged file is one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from controlnet_aux.hed import ControlNetHED_Apache2
        from controlnet_aux.pidi.model import pidinet
    file = tmp_path / DETECTORS[condition]
    if condition == "softedge":
        torch.save(ControlNetHED_Apache2().state_dict(), file)
    else:
        # As its authors' training leaves it.
        named = {f"module.{name}": tensor for name, tensor in pidinet().state_dict().items()}
        torch.save({"epoch": 19, "state_dict": named, "optimizer": {"state": {}, "param_groups": []}}, file)
    soft = replace(CANNY, condition=condition, detector=str(tmp_path))
    frame = people_clip[0][0][:, :48]
    edges = drawer(soft)(frame)
    assert edges.shape == frame.shape == (64, 48, 3) and edges.dtype == np.uint8
    assert (edges == edges[..., :1]).all(), "grey"
    file.write_bytes(b"no weights")
    with pytest.raises(UserError, match="model.controlnets: detector=") as refused:
        drawer(soft)
    assert "\n" not in str(refused.value)


def test_a_detector_that_cannot_be_fetched_is_told_by_its_file(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as refused:
        drawer(replace(CANNY, condition="depth", detector="nowhere/at-all"))
    command = f"(hf download nowhere/at-all {DETECTORS['depth']}) and set detector to its folder, or give condition="
    assert command in str(refused.value) and "model=mini" not in str(refused.value)


def test_drawn_images_are_told_apart_by_frames_kind_and_file_without_drawing(people_clip, tmp_path, monkeypatch):
    frames, size = people_clip[0][:3], (64, 64)
    monkeypatch.setattr("src.models.control_images._loaded", lambda settings: lambda *_, **__: pytest.fail("drawn"))
    soft = replace(CANNY, condition="softedge", detector=str(tmp_path))
    (tmp_path / DETECTORS["softedge"]).write_bytes(b"one")
    (tmp_path / DETECTORS["pidi"]).write_bytes(b"one")
    first = DrawnImages(soft, frames, size).sha256()
    assert DrawnImages(soft, frames.copy(), size).sha256() == first
    changed = frames.copy()
    changed[1, 0, 0] += 1
    others = {DrawnImages(net, frames, size).sha256() for net in (CANNY, replace(soft, condition="pidi"))}
    others.add(DrawnImages(soft, changed, size).sha256())
    (tmp_path / DETECTORS["softedge"]).write_bytes(b"two")
    others.add(DrawnImages(soft, frames, size).sha256())
    assert len(others | {first}) == 5


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"condition": "lineart"}, r"model.controlnets.0.condition=lineart is unknown"),
        ({"scale": -1.0}, "scale of edges=-1.0 must be at least 0"),
        ({"scale": float("nan")}, "scale"),
        ({"path": " "}, "controlnets.0.path= : an empty name would be the working directory"),
        ({"images": "a.mp4"}, "condition=canny and images=a.mp4: images are given with condition=images"),
        ({"condition": "images"}, "condition=images and images=None"),
        ({"weight": 0.5}, "weight"),
    ],
)
def test_settings_check_themselves(values, line):
    entry = {"path": "edges", "condition": "canny"} | values
    with pytest.raises(UserError, match=line) as refused:
        typed(ModelSettings, {"name": "own", "base": "b", "controlnets": [entry]}, "model")
    assert "\n" not in str(refused.value)
