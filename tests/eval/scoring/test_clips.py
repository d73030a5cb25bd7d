"""Reading what is to be scored: every known way to falsify a number by its files is closed."""

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from eval.score import main as score_main
from eval.scoring.clips import ClipPaths, find_clips
from eval.scoring.reading import read_clip
from src.common.errors import UserError
from src.common.paths import CONF_DIR
from src.media.video import write_frames, write_video
from tests.eval.conftest import smooth_frames

NATIVE = {"resolution": None, "resize": None}


@pytest.fixture
def frames() -> np.ndarray:
    return smooth_frames(12, 32, seed=0)


def read(generated: Path, real: Path | None = None, **options: object):
    (paths,) = find_clips(generated, real, None)
    return read_clip(paths, **(NATIVE | options))


def write_lossless(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_frames_come_in_natural_order_and_in_rgb(tmp_path: Path, frames: np.ndarray) -> None:
    (tmp_path / "clip").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{i}.png")
    clip = read(tmp_path / "clip")
    assert np.array_equal(clip.generated, frames), "10.png comes after 2.png, red stays red"
    assert clip.warnings == ()


def test_lossless_video_is_read_exactly_and_lossy_ones_are_warned_about(tmp_path: Path, frames: np.ndarray) -> None:
    write_lossless(tmp_path / "a.mkv", frames)
    clip = read(tmp_path / "a.mkv")
    assert np.array_equal(clip.generated, frames) and clip.warnings == ()
    write_video(tmp_path / "b.mp4", frames, 10)
    assert "h264, which loses detail" in read(tmp_path / "b.mp4").warnings[0]
    (tmp_path / "c").mkdir()
    Image.fromarray(frames[0]).save(tmp_path / "c" / "0.jpg")
    assert ".jpg files, which lose detail" in read(tmp_path / "c").warnings[0]


def test_gifs_give_each_frame_once_or_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "even.gif", save_all=True, append_images=images[1:], duration=100)
    clip = read(tmp_path / "even.gif")
    assert len(clip.generated) == 12
    assert "256 colours" in clip.warnings[0]
    uneven = [100] * 6 + [900] * 6
    images[0].save(tmp_path / "uneven.gif", save_all=True, append_images=images[1:], duration=uneven)
    with pytest.raises(UserError, match=r"variable frame rate.*dropped and.*repeated"):
        read(tmp_path / "uneven.gif")


def test_counts_and_sizes_must_agree(tmp_path: Path, frames: np.ndarray) -> None:
    write_frames(tmp_path / "real", frames)
    write_frames(tmp_path / "short", frames[:-1])
    write_frames(tmp_path / "small", frames[:, :16, :16])
    write_frames(tmp_path / "wide", frames[:, :16])
    with pytest.raises(UserError, match=r"11 generated frames against 12 real .*only in .*/real: 00011\.png"):
        read(tmp_path / "short", tmp_path / "real")
    with pytest.raises(UserError, match=r"16x16 against real ones of 32x32.*protocol.resize"):
        read(tmp_path / "small", tmp_path / "real")
    with pytest.raises(UserError, match=r"48x24 against real ones of 24x24: .*cropped to one shape, which no resizing"):
        read(tmp_path / "wide", tmp_path / "real", resolution=24, resize="bicubic")
    clip = read(tmp_path / "small", tmp_path / "real", resolution=24, resize="bicubic")
    expected = np.asarray(Image.fromarray(frames[3]).resize((24, 24), Image.Resampling.BICUBIC))
    assert np.array_equal(clip.real[3], expected) and clip.generated.shape == (12, 24, 24, 3)
    wide = read(tmp_path / "wide", tmp_path / "wide", resolution=24, resize="bicubic")
    expected = np.asarray(Image.fromarray(frames[3, :16]).resize((48, 24), Image.Resampling.BICUBIC))
    assert np.array_equal(wide.generated[3], expected), "the shorter side is 24, the shape stays"


def test_an_unreadable_video_is_an_error_and_never_replaced(tmp_path: Path, frames: np.ndarray) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "good.mp4", frames, 10)
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"not a video")
    clips = find_clips(tmp_path / "videos", None, None)
    assert [clip.name for clip in clips] == ["bad", "good"]
    with pytest.raises(UserError, match=r"bad\.mp4 is not a readable video"):
        read_clip(clips[0], **NATIVE)


def test_several_clips_pair_by_name(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("ann", "bob"):
        write_frames(tmp_path / "generated" / name, frames[:2])
        write_frames(tmp_path / "real" / name, frames[2:4])
        (tmp_path / "faces").mkdir(exist_ok=True)
        Image.fromarray(frames[0]).save(tmp_path / "faces" / f"{name}.png")
    clips = find_clips(tmp_path / "generated", tmp_path / "real", tmp_path / "faces")
    assert [(clip.name, clip.real.name, clip.reference.name) for clip in clips] == [
        ("ann", "ann", "ann.png"),
        ("bob", "bob", "bob.png"),
    ]
    assert np.array_equal(read_clip(clips[0], **NATIVE).reference, frames[0])
    one = [tmp_path / "generated" / "bob"], [tmp_path / "real" / "ann"]
    with pytest.raises(UserError, match="only in generated: bob; only in real: ann; if .*pairing=order"):
        find_clips(*one)
    assert find_clips(*one, pairing="order")[0].name == "bob"
    write_frames(tmp_path / "real" / "cyd", frames[:2])
    with pytest.raises(UserError, match="only in generated: none; only in real: cyd"):
        find_clips(tmp_path / "generated", tmp_path / "real", None)
    (tmp_path / "faces" / "bob.png").unlink()
    with pytest.raises(UserError, match="nothing for the clips bob"):
        find_clips(tmp_path / "generated", None, tmp_path / "faces")


def test_folders_that_sampling_writes_stand_for_their_frames(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("ann", "bob"):
        write_frames(tmp_path / name / "frames", frames[:2])
        write_video(tmp_path / name / "generated.mp4", frames[:2], 10)
    assert [(clip.name, clip.generated.name) for clip in find_clips(tmp_path / "ann", None, None)] == [
        ("ann", "frames")
    ]
    assert [clip.name for clip in find_clips(tmp_path, None, None)] == ["ann", "bob"]
    assert find_clips(tmp_path / "ann" / "frames", None, None)[0].name == "ann"


def test_ambiguous_and_absent_paths_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_clips(tmp_path / "nowhere", None, None)
    write_frames(tmp_path / "mixed", frames[:2])
    write_video(tmp_path / "mixed" / "video.mp4", frames, 10)
    with pytest.raises(UserError, match="images and videos"):
        find_clips(tmp_path / "mixed", None, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither images nor videos"):
        find_clips(tmp_path / "empty", None, None)
    (tmp_path / "text.png").write_text("no image")
    write_frames(tmp_path / "clip", frames[:2])
    (paths,) = find_clips(tmp_path / "clip", None, tmp_path / "text.png")
    with pytest.raises(UserError, match="not a readable image"):
        read_clip(paths, **NATIVE)


def named(folder: Path, names: list[str], frames: np.ndarray) -> Path:
    folder.mkdir()
    for name, frame in zip(names, frames, strict=False):
        Image.fromarray(frame).save(folder / name)
    return folder


def test_frames_pair_by_the_number_in_their_names(tmp_path: Path, frames: np.ndarray) -> None:
    """One frame missing and one too many, or all off by one, are as many frames: they were scored shifted."""
    generated = named(tmp_path / "generated", [f"{i:03d}.png" for i in range(12)], frames)
    real = named(tmp_path / "real", [f"truth_{i}.png" for i in range(12)], frames)
    assert np.array_equal(read(generated, real).real, frames), "names may differ around the number"
    (real / "truth_9.png").rename(real / "truth_12.png")
    with pytest.raises(UserError, match=r"only in .*generated: 009\.png; only in .*real: truth_12\.png"):
        read(generated, real)
    shifted = named(tmp_path / "gt", [f"{i:03d}.png" for i in range(1, 13)], frames)
    with pytest.raises(UserError, match=r"only in .*: 000\.png; only in .*: 012\.png; .*pairing=order"):
        read(generated, shifted)
    (paths,) = find_clips(generated, shifted, pairing="order")
    assert np.array_equal(read_clip(paths).real, frames)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ann_0.png", "ann_1.png", "bob_0.png"], "no frames of one clip"),
        (["v1_0.png", "v1_1.png", "v2_0.png"], "differ in 2 numbers"),
        (["0.png", "1.png", "cover.png"], "no frames of one clip"),
        (["0.png", "1.png", "0.jpg"], r"\.jpg and \.png files: leave one copy"),
        (["1.png", "01.png", "2.png"], "two images of one number"),
    ],
)
def test_a_folder_of_frames_holds_one_clip_once(
    names: list[str], message: str, tmp_path: Path, frames: np.ndarray
) -> None:
    with pytest.raises(UserError, match=message):
        read(named(tmp_path / "generated", names, frames))


def test_a_single_frame_pairs_by_its_number_too(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("made/clip2_00005", "true/00009", "same/00005", "unnumbered/frame"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(frames[0]).save(tmp_path / f"{name}.png")
    made = tmp_path / "made"
    with pytest.raises(UserError, match=r"only in .*clip2_00005\.png; only in .*00009\.png; .*pairing=order"):
        read_clip(ClipPaths("made", made, tmp_path / "true", None))
    for other in ("same", "unnumbered"):
        assert len(read_clip(ClipPaths("made", made, tmp_path / other, None)).generated) == 1


def test_transparent_pictures_have_no_colour(tmp_path: Path, frames: np.ndarray, call_main) -> None:
    opaque = np.concatenate([frames[:2], np.full((*frames[:2].shape[:3], 1), 255, np.uint8)], -1)
    clear = opaque.copy()
    clear[1, :4, :4, 3] = 0
    for name, pictures in (("opaque", opaque), ("clear", clear)):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / name / f"{number}.png")
        for suffix in ("png", "webp", "tif"):
            options = {"lossless": True} if suffix == "webp" else {}
            first, *others = (Image.fromarray(picture) for picture in pictures)
            first.save(tmp_path / f"{name}.{suffix}", save_all=True, append_images=others, **options)
    for place in ("opaque", "opaque.png", "opaque.webp", "opaque.tif"):
        assert np.array_equal(read(tmp_path / place).generated, frames[:2]), place
    for place in ("clear", "clear.png", "clear.webp", "clear.tif"):
        with pytest.raises(UserError, match=r"has transparent pixels"):
            read(tmp_path / place)
    status, told = call_main(score_main, str(tmp_path / "clear"), "metrics=psnr")
    assert status == 2 and "1.png has transparent pixels" in told and len(told.splitlines()) == 1


def test_loss_within_formats_that_keep_everything_is_said(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("palette", "jpeg", "log"):
        (tmp_path / name).mkdir()
    for number, frame in enumerate(frames[:2]):
        Image.fromarray(frame).quantize(16).save(tmp_path / "palette" / f"{number}.png")
        Image.fromarray(frame).save(tmp_path / "jpeg" / f"{number}.tif", compression="jpeg")
        # OpenCV's own choice for floating point is LogLuv.
        cv2.imwrite(str(tmp_path / "log" / f"{number}.tiff"), (0.2 + 0.6 * frame / 255).astype(np.float32))
    assert read(tmp_path / "palette").warnings[0].endswith("have a palette of 256 colours at most")
    for name in ("jpeg", "log"):
        assert read(tmp_path / name).warnings[0].endswith("are compressed with loss"), name
    Image.fromarray(frames[0]).save(tmp_path / "exact.tif", compression="tiff_lzw")
    assert read(tmp_path / "exact.tif").warnings == ()


def test_a_reference_is_one_picture(tmp_path: Path, frames: np.ndarray, call_main) -> None:
    write_frames(tmp_path / "anna", frames[:2])
    images = [Image.fromarray(frame) for frame in frames[:3]]
    images[0].save(tmp_path / "moving.png", save_all=True, append_images=images[1:])
    (tmp_path / "faces").mkdir()
    for suffix in ("png", "jpg"):
        images[0].save(tmp_path / "faces" / f"anna.{suffix}")
    for reference, said in (("moving.png", "holds 3 pictures"), ("faces", "anna.jpg and anna.png for anna")):
        given = (str(tmp_path / "anna"), str(tmp_path / "anna"), f"reference={tmp_path / reference}", "metrics=psnr")
        status, told = call_main(score_main, *given)
        assert status == 2 and said in told and len(told.splitlines()) == 1


def test_uneven_numbers_are_said(tmp_path: Path, frames: np.ndarray) -> None:
    folder = named(tmp_path / "generated", ["0.png", "1.png", "5.png"], frames)
    assert "not numbered evenly: steps of 1 to 4" in read(folder).warnings[0]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_every_picture_of_an_animated_image_is_a_frame(suffix: str, tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / f"clip{suffix}"
    images = [Image.fromarray(frame) for frame in frames]
    lossless = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, **lossless)
    assert np.array_equal(read(path).generated, frames)
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / f"0{suffix}")
    with pytest.raises(UserError, match="holds 12 pictures"):
        read(tmp_path / "folder")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_pictures_are_turned_as_they_say(suffix: str, tmp_path: Path, frames: np.ndarray, call_main) -> None:
    """As the reader of videos and folders turns them; OpenCV alone turns no WebP."""
    exif, lossless = Image.Exif(), {"lossless": True, "exact": True} if suffix == ".webp" else {}
    exif[0x0112] = 6
    expected = np.rot90(frames[0, :20], -1)
    (tmp_path / "clip").mkdir()
    path = tmp_path / "clip" / f"0{suffix}"
    Image.fromarray(frames[0, :20]).save(path, exif=exif, **lossless)
    assert np.array_equal(read(tmp_path / "clip").generated[0], expected)
    assert np.array_equal(read(path).generated[0], expected)
    (paths,) = find_clips(tmp_path / "clip", None, path)
    assert np.array_equal(read_clip(paths, **NATIVE).reference, expected)
    if suffix == ".webp":
        moving = [Image.fromarray(frame[:20]) for frame in frames[:3]]
        moving[0].save(tmp_path / "moving.webp", save_all=True, append_images=moving[1:], exif=exif, **lossless)
        clip = read(tmp_path / "moving.webp")
        assert np.array_equal(clip.generated[2], np.rot90(frames[2, :20], -1))
        assert clip.warnings[0].endswith("is a .webp file, which may lose detail")


def test_an_animation_of_uneven_times_is_refused(tmp_path: Path, frames: np.ndarray) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], duration=[100] * 6 + [900] * 6)
    with pytest.raises(UserError, match="different times"):
        read(tmp_path / "a.png")


def test_deep_images_become_8_bits_by_a_stated_rule(tmp_path: Path) -> None:
    values = np.repeat(np.arange(0, 65536, 257, dtype=np.uint16)[:256, None], 3, 1).reshape(16, 16, 3)
    expected = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1).reshape(16, 16, 3)
    floats = (values / np.float32(65535)).astype(np.float32)
    for name, image in (("16.png", values), ("f.tif", floats)):
        (tmp_path / name[:-4]).mkdir()
        cv2.imwrite(str(tmp_path / name[:-4] / name), image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
        assert np.array_equal(read(tmp_path / name[:-4]).generated[0], expected), name
    tifffile.imwrite(tmp_path / "f" / "f.tif", floats, bigtiff=True, photometric="rgb")
    assert np.array_equal(read(tmp_path / "f").generated[0], expected), "BigTIFF"
    for bad, message in ((np.nan, "not finite"), (1.5, r"must lie in \[0, 1\]"), (-0.1, r"must lie in \[0, 1\]")):
        image = np.zeros((16, 16, 3), np.float32)
        image[3, 4] = bad
        cv2.imwrite(str(tmp_path / "f" / "f.tif"), image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
        with pytest.raises(UserError, match=message):
            read(tmp_path / "f")
    cv2.imwrite(str(tmp_path / "f" / "f.tif"), np.full_like(image, np.nan), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    with pytest.raises(UserError, match="samples of which none is finite: they must"):  # and no warning of NumPy's
        read(tmp_path / "f")


def test_links_to_nothing_are_one_line(tmp_path: Path, frames: np.ndarray) -> None:
    folder = named(tmp_path / "generated", ["0.png", "1.png"], frames)
    (folder / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"2\.png is a link to nothing"):
        read(folder)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(UserError, match=r"a\.mp4 is a link to nothing"):
        find_clips(tmp_path / "clips", None)
    with pytest.raises(UserError, match="is a link to nothing"):
        find_clips(tmp_path / "clips" / "a.mp4", None)


def write_coded(path: Path, frames: np.ndarray, codec: str, format_: str, *, matrix: int = 2, range_: int = 0) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], format_
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, range_
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_ffv1_with_shared_colour_is_not_called_lossless(tmp_path: Path, frames: np.ndarray) -> None:
    write_coded(tmp_path / "a.mkv", frames, "ffv1", "yuv420p", matrix=1, range_=1)
    clip = read(tmp_path / "a.mkv")
    assert not np.array_equal(clip.generated, frames)
    assert ["ffv1 in yuv420p, which does not keep RGB exactly" in warning for warning in clip.warnings] == [True]


def test_colour_that_a_file_does_not_declare_is_said(tmp_path: Path, frames: np.ndarray) -> None:
    """What is said is what is done: undeclared is read as BT.601 in limited range."""
    flat = np.broadcast_to(np.uint8([200, 60, 30]), frames.shape)
    read_back = {}
    for name, matrix, range_ in (("unsaid", 2, 0), ("601", 6, 1), ("709", 1, 1)):
        write_coded(tmp_path / f"{name}.mkv", flat, "ffv1", "yuv444p", matrix=matrix, range_=range_)
        clip = read(tmp_path / f"{name}.mkv")
        read_back[name] = clip.generated[0, 0, 0].astype(int)
        said = [warning for warning in clip.warnings if "does not declare its colour" in warning]
        assert bool(said) == (name == "unsaid"), name
    assert "matrix (BT.601 is assumed) and range (limited is assumed)" in read(tmp_path / "unsaid.mkv").warnings[-1]
    # Written alike, so that the file that says nothing is read as the one that says BT.601.
    assert np.abs(read_back["unsaid"] - read_back["601"]).max() <= 1


def test_files_are_given_on_a_real_command_line(tmp_path: Path, frames: np.ndarray, call_main) -> None:
    """`reference=` and `poses=` name files, as documented: no group of settings stands in their way."""
    named(tmp_path / "generated", [f"{i}.png" for i in range(12)], frames)
    Image.fromarray(frames[0]).save(tmp_path / "r.png")
    given = (f"generated={tmp_path}/generated", f"reference={tmp_path}/r.png", "metrics=[clip-i-mini]")
    status, stderr = call_main(score_main, *given, f"output={tmp_path}/s.json", "device=cpu")
    assert status == 0, stderr
    assert json.loads((tmp_path / "s.json").read_text())["metrics"]["clip-i-mini"]["frames"] == 12


@pytest.mark.parametrize("command", ["score", "report"])
def test_no_option_of_the_evaluator_is_also_a_group(command: str) -> None:
    """Hydra takes `key=value` for a choice of a group wherever a folder of that name exists."""
    config = yaml.safe_load((CONF_DIR / f"{command}.yaml").read_text())
    groups = {name for entry in config["defaults"] if isinstance(entry, dict) for name in entry}
    assert not [key for key in set(config) - {"defaults", "hydra"} - groups if (CONF_DIR / key).is_dir()]
