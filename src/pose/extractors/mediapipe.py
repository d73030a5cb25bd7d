"""MediaPipe Holistic as a pose extractor: fast on a CPU, models in the wheel, one person."""

import contextlib
import importlib
import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from src.common.errors import UserError
from src.pose.extractors.base import PoseExtractor, extract_people
from src.pose.keypoints import NUM_KEYPOINTS, PARTS, PoseSequence
from src.pose.tracking import Detection

log = logging.getLogger(__name__)

# OpenPose's 18 body points among MediaPipe's 33; the neck (1) is the mean of the shoulders.
NECK, SHOULDERS = 1, (12, 11)
BODY_FROM_33 = np.array([0, 11, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7])
# iBUG's 68 face points among the 468 of the mesh, after PeizhiYan/Mediapipe_2_Dlib_Landmarks: each the mean of two
# mesh points (the same one twice where one suffices). The brows' outer ends are 70 and 300 as in its first version:
# the later 156 and 383 lie beside the brow.
FACE_FROM_MESH = np.array(
    [
        *((127, 127), (234, 234), (93, 93), (132, 58), (58, 172), (136, 136), (150, 150), (176, 176), (152, 152)),
        *((400, 400), (379, 379), (365, 365), (397, 288), (361, 361), (323, 323), (454, 454), (356, 356)),
        *((70, 70), (63, 63), (105, 105), (66, 66), (107, 107), (336, 336), (296, 296), (334, 334), (293, 293)),
        *((300, 300), (168, 6), (197, 195), (5, 5), (4, 4), (98, 98), (97, 97), (2, 2), (326, 326), (327, 327)),
        *((33, 33), (160, 160), (158, 158), (133, 133), (153, 153), (144, 144)),
        *((362, 362), (385, 385), (387, 387), (263, 263), (373, 373), (380, 380)),
        *((61, 61), (39, 39), (37, 37), (0, 0), (267, 267), (269, 269), (291, 291)),
        *((321, 321), (314, 314), (17, 17), (84, 84), (91, 91)),
        *((78, 78), (82, 82), (13, 13), (312, 312), (308, 308), (317, 317), (14, 14), (87, 87)),
    ]
)


class MediaPipeExtractor(PoseExtractor):
    """Holistic of MediaPipe's legacy solutions: body, face mesh and both hands of one person, tracked over time.

    A keypoint counts as seen when it lies inside the frame, as with OpenPose: Holistic also extrapolates hips and
    legs below the picture. Body points must be visible besides (`visibility_threshold`); face and hands come
    without confidences and get 1.

    Args:
        model_complexity: 0, 1 or 2, of the body model. The wheel holds 1; MediaPipe downloads the others.
        min_confidence: of detecting, and of going on tracking, a person, in [0, 1].
        visibility_threshold: of a body point, in [0, 1].
    """

    name = "mediapipe"

    def __init__(
        self, *, model_complexity: int = 1, min_confidence: float = 0.5, visibility_threshold: float = 0.5
    ) -> None:
        self.model_complexity = model_complexity
        self.min_confidence = min_confidence
        self.visibility_threshold = visibility_threshold

    def fingerprint(self) -> str:
        try:
            version = importlib.metadata.version("mediapipe")
        except ImportError as error:
            raise _absent(error) from error
        return (
            f"mediapipe {version} holistic model_complexity={self.model_complexity}"
            f" min_confidence={self.min_confidence} visibility_threshold={self.visibility_threshold}"
        )

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        log.info("mediapipe: runs on the CPU and follows one person, whom it chooses itself")
        with contextlib.ExitStack() as opened:
            holistic = None

            def detect(frame: np.ndarray) -> list[Detection]:
                nonlocal holistic, found
                # Each of its models is started by the first frame that needs it, and talks from threads of its own.
                with contextlib.nullcontext() if found else quiet_stderr():
                    holistic = holistic or opened.enter_context(self._open())
                    result = holistic.process(np.ascontiguousarray(frame))
                person = to_person(result, visibility_threshold=self.visibility_threshold)
                found = found or bool(person.seen.any())
                return [person] if person.seen.any() else []

            found = False
            return extract_people(detect, frames, total=total, name=self.name)[0]

    def _open(self) -> Any:
        if self.model_complexity not in (0, 1, 2):
            raise UserError(f"pose.model_complexity={self.model_complexity}: expected 0, 1 or 2")
        holistic = import_mediapipe().solutions.holistic
        try:
            return holistic.Holistic(
                static_image_mode=False,
                model_complexity=self.model_complexity,
                min_detection_confidence=self.min_confidence,
                min_tracking_confidence=self.min_confidence,
            )
        except OSError as error:
            raise UserError(
                f"mediapipe could not fetch the body model of pose.model_complexity={self.model_complexity} ({error});"
                " pose.model_complexity=1 is in the wheel"
            ) from error


def to_person(result: Any, *, visibility_threshold: float) -> Detection:
    """Holistic's result for one frame as our keypoints: unseen where not found, hidden or outside the frame.

    Args:
        result: with `pose_landmarks` (33), `face_landmarks` (468), `left_hand_landmarks` and `right_hand_landmarks`
            (21 each, the person's own left and right), each None where not found.
        visibility_threshold: of a body point.
    """
    xy = np.zeros((NUM_KEYPOINTS, 2))
    confidence = np.zeros(NUM_KEYPOINTS)
    if result.pose_landmarks is not None:
        points = _array(result.pose_landmarks)
        visibility = np.array([landmark.visibility for landmark in result.pose_landmarks.landmark])
        body, visible = points[BODY_FROM_33], visibility[BODY_FROM_33]
        body[NECK], visible[NECK] = points[list(SHOULDERS)].mean(0), visibility[list(SHOULDERS)].min()
        xy[PARTS["body"]] = body
        confidence[PARTS["body"]] = np.where(visible >= visibility_threshold, np.clip(visible, 0, 1), 0)
    if result.face_landmarks is not None:
        xy[PARTS["face"]] = _array(result.face_landmarks)[FACE_FROM_MESH].mean(1)
        confidence[PARTS["face"]] = 1
    for part in ("left_hand", "right_hand"):
        hand = getattr(result, f"{part}_landmarks")
        if hand is not None:
            xy[PARTS[part]] = _array(hand)
            confidence[PARTS[part]] = 1
    inside = ((xy >= 0) & (xy <= 1)).all(-1)
    return Detection(xy, np.where(inside, confidence, 0))


def _array(landmarks: Any) -> np.ndarray:
    return np.array([(landmark.x, landmark.y) for landmark in landmarks.landmark])


def import_mediapipe() -> Any:
    try:
        with quiet_stderr():
            return importlib.import_module("mediapipe")
    except ImportError as error:
        raise _absent(error) from error


def _absent(error: ImportError) -> UserError:
    return UserError(
        f"pose=mediapipe needs the package mediapipe ({error}): pip install '.[mediapipe]';"
        " or use pose=dwpose or pose=file"
    )


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what MediaPipe's C++ prints as it starts: it has no switch, and its errors come as Python exceptions."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
