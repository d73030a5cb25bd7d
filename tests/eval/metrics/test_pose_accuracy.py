"""PCK by brute force, OKS by COCO's own code; a missed keypoint is never a gain."""

import itertools

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from eval.metrics.base import NotComputable
from eval.metrics.pose_accuracy import AREA_SHARE, GROUPS, OKS, PCK
from eval.metrics.registry import REGISTRY
from src.common.errors import UserError
from src.pose.keypoints import BODY_NAMES, NUM_KEYPOINTS, PARTS, PoseSequence

SIZE = (96, 160)  # not square: distances are in pixels
COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)


def poses(count: int, seed: int, seen: float = 0.8) -> PoseSequence:
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(count, NUM_KEYPOINTS)) < seen
    return PoseSequence(rng.uniform(0.2, 0.8, (count, NUM_KEYPOINTS, 2)), mask.astype(np.float32), mask)


def near(real: PoseSequence, seed: int, spread: float = 0.02, seen: float = 0.8) -> PoseSequence:
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=real.mask.shape) < seen
    return PoseSequence(real.xy + rng.normal(0, spread, real.xy.shape), mask.astype(np.float32), mask)


def coco_oks(generated: PoseSequence, real: PoseSequence, frame: int) -> float:
    """COCO's `computeOks` of the 17 body keypoints of one frame."""
    indices = [BODY_NAMES.index(name) for name in COCO_NAMES]
    scale = np.array(SIZE[::-1], float)
    seen = real.mask[frame]
    box = np.ptp(real.xy[frame][seen].astype(float) * scale, axis=0)
    truth = np.concatenate([real.xy[frame, indices] * scale, 2.0 * seen[indices, None]], 1)
    # A missed keypoint has no place: far away.
    found = np.where(generated.mask[frame, indices][:, None], generated.xy[frame, indices] * scale, 1e6)
    coco = COCOeval(iouType="keypoints")
    coco._gts[1, 1] = [{"keypoints": truth.ravel(), "bbox": [0, 0, *box], "area": AREA_SHARE * box.prod()}]
    coco._dts[1, 1] = [{"keypoints": np.concatenate([found, np.ones((17, 1))], 1).ravel(), "score": 1.0}]
    return float(coco.computeOks(1, 1)[0, 0])


def test_oks_of_the_body_is_cocos() -> None:
    real = poses(6, 0)
    generated = near(real, 1)
    metric = OKS("body")
    metric.update(generated, real, size=SIZE)
    expected = [coco_oks(generated, real, frame) for frame in range(6)]
    assert metric.compute().item() == pytest.approx(np.mean(expected), rel=1e-6)
    assert 0.1 < np.mean(expected) < 0.9


def test_oks_of_face_and_hands_is_the_formula() -> None:
    real = poses(3, 2)
    generated = near(real, 3)
    for group in ("face", "hands"):
        values = []
        for (indices, sigmas), frame in itertools.product(GROUPS[group], range(3)):
            scale = np.array(SIZE[::-1], float)
            area = 0.53 * np.ptp(real.xy[frame][real.mask[frame]] * scale, axis=0).prod()
            right = []
            for keypoint, sigma in zip(indices, sigmas, strict=True):
                if real.mask[frame, keypoint]:
                    distance = np.linalg.norm((generated.xy[frame, keypoint] - real.xy[frame, keypoint]) * scale)
                    found = generated.mask[frame, keypoint]
                    right.append(np.exp(-(distance**2) / (2 * area * (2 * sigma) ** 2)) if found else 0.0)
            values.append(np.mean(right))
        metric = OKS(group)
        metric.update(generated, real, size=SIZE)
        assert metric.compute().item() == pytest.approx(np.mean(values), rel=1e-5)
        assert metric.details()["frames"] == 3, "however many parts they show"


def test_pck_counts_keypoints_within_a_tenth_of_the_part() -> None:
    real = poses(4, 4)
    generated = near(real, 5, spread=0.04)
    values, found, shown = [], 0, 0
    for part, frame in itertools.product(("left_hand", "right_hand"), range(4)):
        keypoints = [k for k in range(NUM_KEYPOINTS)[PARTS[part]] if real.mask[frame, k]]
        points = real.xy[frame, keypoints].astype(float) * [SIZE[1], SIZE[0]]
        side = max(np.ptp(points, axis=0))
        distances = np.linalg.norm(
            (generated.xy[frame, keypoints].astype(float) - real.xy[frame, keypoints]) * [SIZE[1], SIZE[0]], axis=1
        )
        hits = (distances <= 0.1 * side) & generated.mask[frame, keypoints]
        found, shown = found + generated.mask[frame, keypoints].sum(), shown + len(keypoints)
        values.append(hits.mean())
    metric = PCK("hands")
    metric.update(generated, real, size=SIZE)
    assert metric.compute().item() == pytest.approx(np.mean(values), rel=1e-9)
    assert metric.details() == {"frames": 4, "seen": pytest.approx(found / shown)}
    assert 0.1 < np.mean(values) < 0.9


@pytest.mark.parametrize("kind", [PCK, OKS])
@pytest.mark.parametrize("group", list(GROUPS))
def test_losing_keypoints_never_helps_and_equal_poses_are_perfect(kind: type, group: str) -> None:
    real = poses(4, 6)
    values = []
    for seen in (1.0, 0.5, 0.05, 0.0):
        metric = kind(group)
        metric.update(near(real, 7, spread=0, seen=seen), real, size=SIZE)
        values.append(metric.compute().item())
    assert values[0] == pytest.approx(1) and values[-1] == 0
    assert values == sorted(values, reverse=True)


def test_pose_accuracy_merges_and_says_what_it_lacks() -> None:
    real = poses(4, 8)
    generated = near(real, 9)
    whole, parts = PCK("face"), [PCK("face"), PCK("face")]
    whole.update(generated, real, size=SIZE)
    parts[0].update(generated[:1], real[:1], size=SIZE)
    parts[1].update(generated[1:], real[1:], size=SIZE)
    parts[0].merge_state(parts[1])
    assert parts[0].compute().item() == pytest.approx(whole.compute().item(), rel=1e-12)
    assert parts[0].details() == whole.details()
    unseen = PCK("hands")
    unseen.update(generated, poses(4, 8, seen=0), size=SIZE)
    with pytest.raises(NotComputable, match="shows the hands"):
        unseen.compute()
    with pytest.raises(UserError, match="4 and 3"):
        OKS("body").update(generated, real[:3], size=SIZE)


@pytest.mark.parametrize("group", GROUPS)
def test_the_registry_says_how_many_values_a_frame_has(group: str) -> None:
    real, metric = poses(3, 0, seen=1.0), PCK(group)
    metric.update(near(real, 1), real, size=SIZE)
    for kind in ("pck", "oks"):
        assert int(metric.count) == 3 * REGISTRY[f"{kind}-{group}"].values_a_frame
