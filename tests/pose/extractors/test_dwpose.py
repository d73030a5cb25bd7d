"""The real extractor on small ONNX models that see: the pose is the brightest red dot."""

import logging

import numpy as np
import pytest

from src.common.errors import UserError
from src.pose.extractors.dwpose import DWPoseExtractor, to_people
from src.pose.keypoints import PARTS

onnx = pytest.importorskip("onnx", reason="builds its test models with onnx (extra: dev)")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

BOX = (8.0, 4.0, 56.0, 60.0)  # of the detector's 64 pixels


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


def detector_with_nms(path, boxes):
    """Fixed boxes with scores: (1, N, 5), as rtmlib's published YOLOX."""
    boxes = np.asarray(boxes, np.float32).reshape(1, -1, 5)
    node = helper.make_node("Identity", ["boxes"], ["dets"])
    return save(path, [node], {"input": [1, 3, 64, 64]}, {"dets": [1, boxes.shape[1], 5]}, {"boxes": boxes})


def raw_detector(path, detections):
    """Raw YOLOX of 80 classes, (1, 84, 85) for 64 pixels; `detections`: (cell of stride 32, class)."""
    output = np.zeros((1, 84, 85), np.float32)
    for cell, kind in detections:
        output[0, 80 + cell, :4] = 0.5, 0.5, np.log(40 / 32), np.log(40 / 32)
        output[0, 80 + cell, 4] = output[0, 80 + cell, 5 + kind] = 0.9
    node = helper.make_node("Identity", ["fixed"], ["output"])
    return save(path, [node], {"images": [1, 3, 64, 64]}, {"output": [1, 84, 85]}, {"fixed": output})


def red_dot_estimator(path, count=133):
    """SimCC output whose peak is the brightest pixel of the red channel, which OpenCV has last."""
    nodes = [
        helper.make_node("Gather", ["input", "red"], ["channel"], axis=1),
        helper.make_node("ReduceMax", ["channel"], ["columns"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["channel"], ["rows"], axes=[3], keepdims=0),
    ]
    for axis in ("columns", "rows"):
        nodes += [
            helper.make_node("Unsqueeze", [axis, "last"], [f"{axis}4"]),
            helper.make_node("Expand", [f"{axis}4", f"{axis}_twice"], [f"{axis}_pairs"]),
            helper.make_node("Reshape", [f"{axis}_pairs", f"{axis}_flat"], [f"{axis}_long"]),
            helper.make_node("Expand", [f"{axis}_long", f"{axis}_all"], [f"simcc_{axis}"]),
        ]
    constants = {"red": np.int64([2]), "last": np.int64([-1])}
    for axis, side in (("columns", 48), ("rows", 64)):
        constants |= {
            f"{axis}_twice": np.int64([1, 1, side, 2]),
            f"{axis}_flat": np.int64([1, 1, 2 * side]),
            f"{axis}_all": np.int64([1, count, 2 * side]),
        }
    outputs = {"simcc_columns": [1, count, 96], "simcc_rows": [1, count, 128]}
    return save(path, nodes, {"input": [1, 3, 64, 48]}, outputs, constants)


def clip_with_dot(positions, height=96, width=128):
    """Dark blue frames, each with a red square of 5 pixels around (x, y)."""
    frames = np.full((len(positions), height, width, 3), (0, 0, 120), np.uint8)
    for frame, (x, y) in zip(frames, positions, strict=True):
        frame[y - 2 : y + 3, x - 2 : x + 3, 0] = 255
    return frames


@pytest.fixture
def estimator(tmp_path):
    return red_dot_estimator(tmp_path / "pose.onnx")


def test_finds_the_red_dot_in_units_of_the_frame(tmp_path, estimator):
    """Box, crop, colour order and SimCC decoding together: the dot is where it was painted."""
    detector = detector_with_nms(tmp_path / "det.onnx", [[*BOX, 0.9]])
    positions = [(40, 50), (60, 40), (80, 70)]
    extractor = DWPoseExtractor(detector=detector, estimator=estimator, device="cpu")
    poses = extractor.extract(clip_with_dot(positions), total=3)
    assert poses.mask.all() and (poses.confidence == 1).all()
    expected = np.array(positions)[:, None] / (128, 96)
    assert np.abs(poses.xy - expected).max() < 4 / 96  # the dot's half width and a cell


@pytest.mark.parametrize("kinds", [[0], [56, 0], [0, 56]])
def test_of_80_classes_only_people_are_taken(tmp_path, estimator, kinds, caplog):
    detector = raw_detector(tmp_path / "det.onnx", [(cell * 3, kind) for cell, kind in enumerate(kinds)])
    with caplog.at_level(logging.INFO):
        poses = DWPoseExtractor(detector=detector, estimator=estimator).extract(clip_with_dot([(60, 48)] * 2))
    assert len(poses) == 2 and "several" not in caplog.text


@pytest.mark.parametrize("make", [lambda p: raw_detector(p, [(0, 56)]), lambda p: detector_with_nms(p, [[*BOX, 0.1]])])
def test_no_person_is_an_error_not_the_whole_picture(tmp_path, estimator, make):
    extractor = DWPoseExtractor(detector=make(tmp_path / "det.onnx"), estimator=estimator)
    with pytest.raises(UserError, match="dwpose: no person found in the 2 frames"):
        extractor.extract(clip_with_dot([(60, 48)] * 2))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_log_says_what_runs_and_warns_where_cuda_does_not(tmp_path, estimator, caplog):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    detector = detector_with_nms(tmp_path / "det.onnx", [[*BOX, 0.9]])
    with caplog.at_level(logging.INFO):
        DWPoseExtractor(detector=detector, estimator=estimator, device="cuda").extract(clip_with_dot([(60, 48)]))
    assert "dwpose detector: det.onnx runs on CPUExecutionProvider" in caplog.text
    assert "dwpose estimator: CUDA was asked for but onnxruntime runs on CPUExecutionProvider" in caplog.text


def test_fingerprint_follows_weights_and_settings(tmp_path, estimator):
    detector = detector_with_nms(tmp_path / "det.onnx", [[*BOX, 0.9]])
    other = detector_with_nms(tmp_path / "other.onnx", [[*BOX, 0.8]])
    first = DWPoseExtractor(detector=detector, estimator=estimator).fingerprint()
    assert first == DWPoseExtractor(detector=detector, estimator=estimator, device="cpu").fingerprint()
    assert first != DWPoseExtractor(detector=other, estimator=estimator).fingerprint()
    assert first != DWPoseExtractor(detector=detector, estimator=estimator, confidence_threshold=0.4).fingerprint()


def test_missing_weights_name_files_sources_and_options(tmp_path, estimator):
    with pytest.raises(UserError) as caught:
        DWPoseExtractor(detector=str(tmp_path / "yolo.onnx"), estimator=estimator).extract([])
    for words in ("yolo.onnx not found", "yolox_l.onnx", "dw-ll_ucoco_384.onnx", "pose.detector=", "pose.estimator="):
        assert words in str(caught.value)
    assert "pose=mediapipe" in str(caught.value)


def test_failed_download_is_the_same_error(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    address = "http://127.0.0.1:9/yolox.onnx"  # nothing listens there
    extractor = DWPoseExtractor(detector=address, estimator=address)
    assert address in extractor.fingerprint()
    with pytest.raises(UserError, match=r"yolox\.onnx could not be downloaded .* pose=mediapipe"):
        extractor.extract([])


def test_unreadable_and_wrong_models_are_clear(tmp_path, estimator):
    (tmp_path / "torn.onnx").write_bytes(b"not a model")
    detector = detector_with_nms(tmp_path / "det.onnx", [[*BOX, 0.9]])
    with pytest.raises(UserError, match=r"pose\.estimator=.*torn\.onnx: cannot be read as an ONNX model"):
        DWPoseExtractor(detector=detector, estimator=str(tmp_path / "torn.onnx")).extract([])
    body = red_dot_estimator(tmp_path / "body.onnx", count=17)
    with pytest.raises(UserError, match=r"pose\.estimator finds 17 keypoints; expected a whole-body model of 133"):
        DWPoseExtractor(detector=detector, estimator=body).extract(clip_with_dot([(60, 48)]))
    with pytest.raises(UserError, match=r"pose\.device=gpu is unknown: choose one of auto, cpu, cuda"):
        DWPoseExtractor(detector=detector, estimator=estimator, device="gpu").extract([])


def test_coco_wholebody_points_land_where_openpose_has_them():
    """Through rtmlib's own conversion, against COCO-WholeBody's published order."""
    from rtmlib.tools.pose_estimation.post_processings import convert_coco_to_openpose

    coco = np.arange(133 * 2, dtype=float).reshape(1, 133, 2)
    scores = np.full((1, 133), 0.9)
    scores[0, 5] = 0.1  # left shoulder
    (person,) = to_people(*convert_coco_to_openpose(coco, scores), (2, 4), confidence_threshold=0.3)
    pixels = person.xy * (4, 2)
    # nose, right and left arm, right and left leg, right eye, left eye, right ear, left ear
    body = [0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    assert np.array_equal(pixels[[0, *range(2, 18)]], coco[0, body])
    assert np.array_equal(pixels[1], coco[0, [5, 6]].mean(0))
    assert np.array_equal(np.flatnonzero(~person.seen), [1, 5])  # the neck needs both shoulders
    assert np.array_equal(pixels[PARTS["face"]], coco[0, 23:91])
    assert np.array_equal(pixels[PARTS["left_hand"]], coco[0, 91:112])
    assert np.array_equal(pixels[PARTS["right_hand"]], coco[0, 112:133])
