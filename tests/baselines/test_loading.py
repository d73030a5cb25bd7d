"""Weights of both systems from the layouts in which they are published, and what is said where they are not there."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.baselines.disco.loading import load_disco, read_configs
from src.baselines.magicanimate.loading import convert_temporal, find_files, load_magicanimate
from src.baselines.magicanimate.names import rename_motion, sort_temporal_file
from src.baselines.magicanimate.settings import NetworkSettings
from src.common.errors import UserError
from tests.baselines.disco_reference import SCHEDULER
from tests.baselines.toys import (
    magicanimate_parts,
    public_disco_names,
    public_motion_names,
    toy_disco,
    toy_magicanimate,
    write_disco_configs,
    write_magicanimate,
)

SETTINGS = NetworkSettings()


@pytest.fixture
def published(tmp_path: Path):
    folder = tmp_path / "MagicAnimate"
    return folder, write_magicanimate(folder)


@pytest.fixture
def temporal(published) -> Path:
    return published[0] / "temporal_attention/temporal_attention.ckpt"


def assert_equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    expected = other.state_dict()
    assert one.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in one.state_dict().items())


class TestMagicAnimate:
    def test_the_published_layout(self, published):
        model = load_magicanimate(*published, settings=SETTINGS)
        assert_equal_weights(model, toy_magicanimate())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        half = load_magicanimate(*published, settings=SETTINGS, dtype=torch.float16)
        assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}

    def test_the_appearance_encoder_may_lie_in_a_folder_of_its_own_name(self, published):
        folder, unet = published
        inner = folder / "appearance_encoder" / "appearance_encoder"
        (folder / "appearance_encoder").rename(folder / "moved")
        inner.parent.mkdir()
        (folder / "moved").rename(inner)
        assert_equal_weights(load_magicanimate(folder, unet, settings=SETTINGS), toy_magicanimate())

    def test_position_tables_are_computed_where_the_file_has_none(self, published, temporal):
        content = torch.load(temporal, weights_only=True)
        content["state_dict"] = {k: t for k, t in content["state_dict"].items() if not k.endswith(".pe")}
        torch.save(content, temporal)
        model = load_magicanimate(*published, settings=SETTINGS)
        tables = {name: t for name, t in model.unet.state_dict().items() if name.endswith(".pe")}
        known = toy_magicanimate().unet.state_dict()
        assert tables and all(t.shape[1] == 24 for t in tables.values())
        assert all(torch.equal(t[:, : known[name].shape[1]], known[name]) for name, t in tables.items())

    def test_a_file_of_the_whole_unet_replaces_the_image_models_weights(self, published, temporal, caplog):
        folder, unet = published
        motion = public_motion_names(magicanimate_parts()[1])
        spatial = {name: t + 1 for name, t in unet.state_dict().items()}
        torch.save({"state_dict": {f"module.{name}": t for name, t in (motion | spatial).items()}}, temporal)
        with caplog.at_level(logging.INFO):
            model = load_magicanimate(folder, unet, settings=SETTINGS)
        assert torch.equal(model.unet.conv_in.weight, unet.conv_in.weight + 1)
        assert f"replaces {len(spatial)} of the {len(spatial)} tensors" in caplog.text

    def test_one_unknown_key_and_only_motion_modules_are_taken(self, published, temporal, caplog):
        folder, unet = published
        motion = public_motion_names(magicanimate_parts()[1])
        spatial = {f"unet.{name}": t + 1 for name, t in unet.state_dict().items()}
        torch.save({f"unet.{name}": t for name, t in motion.items()} | spatial, temporal)
        with caplog.at_level(logging.INFO):
            model = load_magicanimate(folder, unet, settings=SETTINGS)
        assert torch.equal(model.unet.conv_in.weight, unet.conv_in.weight)
        assert "replaces" not in caplog.text and f"not used: {len(spatial)} other tensors" in caplog.text

    def test_a_conversion_is_preferred_and_equal(self, published, temporal):
        folder, unet = published
        target = temporal.with_suffix(".safetensors")
        converted = convert_temporal(temporal, target, unet)
        assert not converted.spatial and load_file(target).keys() == converted.public.keys()
        assert find_files(folder).temporal == target
        temporal.unlink()
        assert_equal_weights(load_magicanimate(folder, unet, settings=SETTINGS), toy_magicanimate())

    def test_what_is_missing_is_one_line(self, published, temporal):
        folder, unet = published
        temporal.unlink()
        (folder / "densepose_controlnet/config.json").unlink()
        with pytest.raises(
            UserError,
            match=r"lack densepose_controlnet/config.json, temporal_attention/temporal_attention.ckpt: .*zcxu",
        ):
            load_magicanimate(folder, unet, settings=SETTINGS)
        with pytest.raises(UserError, match=r"MagicAnimate's weights in nowhere lack appearance_encoder/config.json"):
            find_files("nowhere")

    def test_weights_that_do_not_fit(self, published, temporal):
        folder, unet = published
        content = torch.load(temporal, weights_only=True)
        name = next(key for key in content["state_dict"] if "to_q" in key)
        for broken, message in (
            ({k: t for k, t in content["state_dict"].items() if k != name}, "1 missing"),
            (content["state_dict"] | {name: torch.zeros(2, 2)}, "1 of another shape"),
        ):
            torch.save({"state_dict": broken}, temporal)
            with pytest.raises(UserError, match=rf"{temporal.name} does not fit the network: {message}"):
                load_magicanimate(folder, unet, settings=SETTINGS)
        torch.save({"state_dict": {"conv_in.weight": torch.zeros(1)}}, temporal)
        with pytest.raises(UserError, match="holds no motion modules"):
            load_magicanimate(folder, unet, settings=SETTINGS)

    def test_a_pickle_of_code_is_not_opened(self, published, temporal):
        torch.save({"state_dict": Path("x")}, temporal)
        with pytest.raises(UserError, match="holds more than weights, which is not opened"):
            load_magicanimate(*published, settings=SETTINGS)

    def test_a_damaged_file(self, published, temporal):
        temporal.write_bytes(temporal.read_bytes()[:1000])
        with pytest.raises(UserError, match="no readable checkpoint: download it again"):
            load_magicanimate(*published, settings=SETTINGS)


def test_motion_names_follow_the_published_ones():
    motion = magicanimate_parts()[1]
    public = public_motion_names(motion)
    assert len(public) == len(motion) * 28 // 27  # 28 tensors a module, of which one position table goes
    assert rename_motion(public).keys() == motion.keys()
    first = next(name for name in public if name.endswith("attention_blocks.1.pos_encoder.pe"))
    with pytest.raises(UserError, match="differs from the module's first position table"):
        rename_motion(public | {first: public[first] + 1})


def test_full_size_files_hold_560_motion_keys():
    """20 modules of 28 tensors: two layers in each of four down blocks, three in each of four up blocks."""
    from diffusers import UNet2DConditionModel, UNetMotionModel

    from src.baselines.magicanimate.motion import motion_config
    from src.models.shipped import from_config, shipped_configs

    with torch.device("meta"):
        unet = from_config(UNet2DConditionModel, shipped_configs("sd15") / "unet")
        video_unet = UNetMotionModel(**motion_config(unet, max_positions=24))
    motion = {name: t for name, t in video_unet.state_dict().items() if ".motion_modules." in name}
    public = public_motion_names(motion)
    assert len(public) == 560
    # On the meta device no two tables can be compared.
    without_tables = {name: t for name, t in public.items() if not name.endswith(".pe")}
    found = sort_temporal_file(without_tables, set(unet.state_dict()))
    assert found.motion.keys() == {name for name in motion if not name.endswith(".pe")}


class TestDisCo:
    @pytest.fixture
    def configs(self, tmp_path: Path) -> Path:
        write_disco_configs(tmp_path / "base", toy_disco(), SCHEDULER)
        return tmp_path / "base"

    @pytest.mark.parametrize("under", ["module", "models", "model"])
    def test_the_published_checkpoint(self, tmp_path, configs, under):
        path = tmp_path / "mp_rank_00_model_states.pt"
        torch.save({under: public_disco_names(toy_disco()), "global_steps": 3}, path)
        model, scheduler = load_disco(path, configs)
        assert_equal_weights(model, toy_disco().half().float())
        assert scheduler.config.clip_sample is False and scheduler.config.steps_offset == 1
        size = model.foreground_size
        images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(model.context(images), toy_disco().half().float().context(images))

    def test_a_conversion(self, tmp_path, configs):
        path = tmp_path / "disco.safetensors"
        save_file({name: t.contiguous() for name, t in public_disco_names(toy_disco()).items()}, path)
        assert_equal_weights(load_disco(path, configs)[0], toy_disco().half().float())

    def test_what_is_missing_is_one_line(self, tmp_path, configs):
        with pytest.raises(UserError, match=r"no weights at .*x.pt: expected mp_rank_00_model_states.pt .*Wangt-CN"):
            load_disco(tmp_path / "x.pt", configs)
        with pytest.raises(UserError, match=r"no config at nowhere/unet/config.json: .*sd-image-variations"):
            read_configs("nowhere")

    def test_checkpoints_of_something_else(self, tmp_path, configs):
        path, weights = tmp_path / "x.pt", public_disco_names(toy_disco())
        for content, message in (
            ({"module": {"a": torch.zeros(1)}}, "holds no weights of DisCo"),
            ({"module": weights | {"controlnet.conv_in.weight": torch.zeros(1)}}, "attribute pre-training"),
            ({"module": weights | {"unet.x": torch.zeros(1)}}, r"1 unknown \(first: unet.x\)"),
            ([torch.zeros(1)], "holds a list"),
        ):
            torch.save(content, path)
            with pytest.raises(UserError, match=message):
                load_disco(path, configs)
