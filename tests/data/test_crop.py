"""A crop moves the picture and the keypoints alike."""

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.crop import CropBox, aspect_ratio, crop_box, crop_frame, crop_poses, frame_size, pad_poses, shape_warning
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence


def sequence(points_FN2: np.ndarray) -> PoseSequence:
    """F poses whose first N keypoints are seen."""
    points = np.asarray(points_FN2, np.float32)
    xy = np.zeros((len(points), NUM_KEYPOINTS, 2), np.float32)
    mask = np.zeros((len(points), NUM_KEYPOINTS), bool)
    xy[:, : points.shape[1]], mask[:, : points.shape[1]] = points, True
    return PoseSequence(xy, mask.astype(np.float32), mask)


def blob(width: int, height: int, x: float, y: float, sigma: float) -> np.ndarray:
    """A frame with one white blob centred at (x, y), in units of the frame."""
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    value = np.exp(-((columns[None] - x * width) ** 2 + (rows[:, None] - y * height) ** 2) / (2 * sigma**2))
    return np.repeat((255 * value).round().astype(np.uint8)[..., None], 3, -1)


def centre(frame: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) in units of the frame."""
    weight = frame[..., 0].astype(float)
    columns, rows = (
        (np.arange(frame.shape[1]) + 0.5) / frame.shape[1],
        (np.arange(frame.shape[0]) + 0.5) / frame.shape[0],
    )
    return np.array([(weight.sum(0) * columns).sum(), (weight.sum(1) * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("size", [(320, 180), (181, 321), (200, 200)])
@pytest.mark.parametrize("mode", ["person", "center", "pad"])
@pytest.mark.parametrize("resolution", [64, 97, 256])
def test_a_marker_ends_up_where_its_keypoint_says(size, mode, resolution):
    width, height = size
    marker = (0.52, 0.47)
    poses = sequence([[marker, (0.4, 0.35), (0.62, 0.66)]])
    box = crop_box(poses, width=width, height=height, mode=mode, size=(32, 32))
    moved = crop_poses(poses, box, width=width, height=height)
    picture = crop_frame(blob(width, height, *marker, 5.0), box, (resolution, resolution))
    assert picture.shape == (resolution, resolution, 3) and picture.dtype == np.uint8
    assert moved.mask[0, 0]
    # A tenth of a pixel of the result.
    assert np.abs(centre(picture) - moved.xy[0, 0]).max() < 0.1 / resolution


def test_person_box_covers_everyone_over_all_frames():
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = rng.integers(60, 400, 2).tolist()
        if width == height:
            continue
        low, high = np.sort(rng.random((2, 2)), 0)
        poses = sequence(rng.uniform(low, high, (5, 9, 2)))
        box = crop_box(poses, width=width, height=height, mode="person", size=(48, 48))
        assert min(48, width, height) <= box.width <= min(width, height)
        assert 0 <= box.left <= width - box.width and 0 <= box.top <= height - box.width
        seen = poses.xy[poses.mask]
        low, high = seen.min(0) * (width, height), seen.max(0) * (width, height)
        if (high - low).max() * 1.3 < box.width - 2:
            assert crop_poses(poses, box, width=width, height=height).mask.sum() == poses.mask.sum()


def test_person_box_is_centred_where_there_is_room():
    poses = sequence([[(0.45, 0.4), (0.55, 0.6)]])
    box = crop_box(poses, width=1600, height=900, mode="person", size=(64, 64))
    assert abs(box.left + box.width / 2 - 800) <= 1 and abs(box.top + box.width / 2 - 450) <= 1
    assert box.width == round(180 * 1.3)


def test_a_person_taller_than_the_frame_is_wide_keeps_the_head():
    poses = sequence([[(0.5, 0.2), (0.5, 0.95)]])
    box = crop_box(poses, width=1080, height=1920, mode="person", size=(512, 512))
    assert box.width == 1080
    assert box.top == round(0.2 * 1920 - 0.15 * 1080), "room for the hair above the highest keypoint"
    moved = crop_poses(poses, box, width=1080, height=1920)
    assert moved.mask[0, :2].tolist() == [True, False], "what is cut off is unseen"


def test_square_frames_stay_whole():
    poses = sequence([[(0.1, 0.1), (0.2, 0.2)]])
    for mode in ("person", "center", "pad"):
        box = crop_box(poses, width=384, height=384, mode=mode, size=(64, 64))
        assert box == CropBox(0, 0, 384, 384)
        assert np.array_equal(crop_poses(poses, box, width=384, height=384).xy, poses.xy)
    frame = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    assert np.array_equal(crop_frame(frame, CropBox(0, 0, 384, 384), (384, 384)), frame)


def test_pad_keeps_everything_on_black():
    frame = np.full((30, 50, 3), 200, np.uint8)
    box = crop_box(sequence([[(0, 0), (1, 1)]]), width=50, height=30, mode="pad", size=(8, 8))
    picture = crop_frame(frame, box, (50, 50))
    assert picture[10:40].min() == 200 and picture[:10].max() == 0 and picture[40:].max() == 0
    assert crop_poses(sequence([[(0, 0), (1, 1)]]), box, width=50, height=30).mask.sum() == 2


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(crop_frame(stripes, CropBox(0, 0, 256, 256), (64, 64))[8:-8, 8:-8].astype(int) - 127).max() <= 2


@pytest.mark.parametrize("size", [(320, 180), (181, 321), (200, 200)])
@pytest.mark.parametrize("mode", ["person", "center", "pad", "none"])
@pytest.mark.parametrize("shape", [(128, 64), (64, 192), (256, 192)])
def test_any_shape_moves_picture_and_keypoints_alike(size, mode, shape):
    width, height = size
    marker = (0.52, 0.47)
    poses = sequence([[marker, (0.45, 0.4), (0.55, 0.55)]])
    box = crop_box(poses, width=width, height=height, mode=mode, size=shape)
    if mode != "none":
        assert abs(box.width / box.height / (shape[1] / shape[0]) - 1) < 0.03, "people would be stretched"
    if mode in ("person", "center"):
        assert 0 <= box.left <= width - box.width and 0 <= box.top <= height - box.height
    else:
        assert box.width >= width and box.height >= height, "something is cut off"
    picture = crop_frame(blob(width, height, *marker, 5.0), box, shape)
    assert picture.shape == (*shape, 3)
    found = crop_poses(poses, box, width=width, height=height)
    assert np.abs(centre(picture) - found.xy[0, 0]).max() * max(shape) < 1


def test_an_upright_clip_keeps_the_whole_of_an_upright_person():
    poses = sequence([[(0.3, 0.05), (0.7, 0.97)]])
    shape = frame_size("source", 512, width=1080, height=1920)
    upright = crop_poses(
        poses, crop_box(poses, width=1080, height=1920, mode="person", size=shape), width=1080, height=1920
    )
    square = crop_poses(
        poses, crop_box(poses, width=1080, height=1920, mode="person", size=(512, 512)), width=1080, height=1920
    )
    assert upright.mask[0, :2].all() and not square.mask[0, :2].all()


@pytest.mark.parametrize("aspect", ["square", "source", "9:16", "16:9", "3:4", "4:1"])
@pytest.mark.parametrize("resolution", [64, 512])
def test_sizes_suit_the_model(aspect, resolution):
    height, width = frame_size(aspect, resolution, width=1080, height=1920)
    assert min(height, width) == resolution and max(height, width) % 64 == 0
    wanted = aspect_ratio(aspect) or 1080 / 1920
    assert abs(width - height * wanted) <= 32 or abs(height - width / wanted) <= 32


@pytest.mark.parametrize("aspect", ["9x16", "0:1", "1:5", "", "1:-1", "source "])
def test_no_other_shapes(aspect):
    with pytest.raises(UserError, match=r"data\.aspect="):
        aspect_ratio(aspect)


@pytest.mark.parametrize(
    ("aspect", "resolution", "crop", "said"),
    [
        (
            "4:3",
            64,
            "pad",
            "data.aspect=4:3 comes out as 64x64 pixels: at data.resolution=64 no multiple of 64 is nearer",
        ),
        ("source", 128, "none", "frames are stretched to 89% of their width for 128x256 pixels"),
        ("source", 128, "person", None),
        ("4:3", 512, "pad", None),
        ("source", 512, "none", None),
    ],
)
def test_a_shape_that_multiples_of_64_change_is_said(aspect, resolution, crop, said):
    size = frame_size(aspect, resolution, width=1080, height=1920)
    box = crop_box(sequence([[(0.5, 0.5)]]), width=1080, height=1920, mode=crop, size=size)
    found = shape_warning(aspect, resolution, box, size)
    assert found is None if said is None else said in found


@pytest.mark.parametrize(
    ("picture", "size"), [((1080, 1920), (128, 64)), ((1920, 1080), (896, 512)), ((2, 3), (64, 64))]
)
def test_padding_keypoints_alone_is_padding_their_picture(picture, size):
    poses = sequence(np.random.default_rng(0).uniform(0, 1, (3, 5, 2)))
    large = 1000 * picture[0], 1000 * picture[1]
    box = crop_box(poses, width=large[1], height=large[0], mode="pad", size=size)
    padded = pad_poses(poses, picture=picture, size=size)
    np.testing.assert_allclose(padded.xy, crop_poses(poses, box, width=large[1], height=large[0]).xy, atol=1e-3)
    assert padded.mask.all(where=poses.mask), "nothing of the picture is lost"
    assert pad_poses(poses, picture=picture, size=(3 * picture[0], 3 * picture[1])) is poses
