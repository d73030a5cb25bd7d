"""DWPose as a pose extractor: a person detector and a whole-body estimator, run by rtmlib on onnxruntime."""

import contextlib
import importlib.metadata
import io
import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlparse

import numpy as np

from src.common.arrays import height_width
from src.common.counting import counted
from src.common.digests import sha256
from src.common.errors import UserError
from src.common.typed import check_choice
from src.pose.extractors.base import PoseExtractor, extract_people, told_person
from src.pose.keypoints import NUM_KEYPOINTS, PARTS, PoseSequence
from src.pose.tracking import Detection, PersonChoice

log = logging.getLogger(__name__)

# rtmlib's OpenPose order of COCO-WholeBody with the neck: 18 body, 6 feet (which OpenPose's drawing lacks), 68 face,
# left hand, right hand.
NUM_RTMLIB = 134
RTMLIB_PARTS = {
    "body": slice(0, 18),
    "face": slice(24, 92),
    "left_hand": slice(92, 113),
    "right_hand": slice(113, 134),
}
# DWPose's own, of the detector; rtmlib applies the same to detectors that hold their non-maximum suppression.
DETECTION_THRESHOLD = 0.3
PERSON_CLASS = 0  # of COCO

Device = Literal["auto", "cpu", "cuda"]


class DWPoseExtractor(PoseExtractor):
    """DWPose (Yang et al. 2023), the paper's keypoints.

    Weights are ONNX files: local ones, or addresses that rtmlib downloads on first use into its cache
    (`$TORCH_HOME/hub/checkpoints`, by default `~/.cache/rtmlib/hub/checkpoints`). No other model ever takes their
    place.

    Args:
        detector: path or address of a YOLOX person detector. Detectors of one class and of COCO's 80 classes work.
        estimator: path or address of a whole-body (133 keypoints) SimCC estimator.
        device: "auto" is CUDA where onnxruntime offers it, else the CPU. What then runs is logged.
        confidence_threshold: a keypoint below it is unseen. DWPose's own drawing uses 0.3.
        person: of several, see `src.pose.tracking.follow`.
    """

    name = "dwpose"

    def __init__(
        self,
        *,
        detector: str,
        estimator: str,
        device: Device = "auto",
        confidence_threshold: float = 0.3,
        person: PersonChoice = "largest",
    ) -> None:
        self.detector = str(detector)
        self.estimator = str(estimator)
        self.device = device
        self.confidence_threshold = confidence_threshold
        self.person: PersonChoice = person

    def fingerprint(self) -> str:
        # A published address names its weights, hash included: no download to know them.
        weights = [w if _is_address(w) else sha256(self._file(w)) for w in (self.detector, self.estimator)]
        version = importlib.metadata.version("rtmlib")
        return (
            f"dwpose rtmlib {version} detector={weights[0]} estimator={weights[1]}"
            f" confidence_threshold={self.confidence_threshold}{told_person(self.person)}"
        )

    def extract(self, frames: Iterable[np.ndarray], *, total: int | None = None) -> PoseSequence:
        detector, estimator = self._load()

        def detect(frame: np.ndarray) -> list[Detection]:
            image = np.ascontiguousarray(frame[..., ::-1])  # rtmlib takes OpenCV's BGR
            boxes = detector(image)
            if detector.det_mode == "multiclass":
                boxes, classes = boxes
                boxes = boxes[classes == PERSON_CLASS]
            # Without a box rtmlib would take the whole picture for a person.
            if not len(boxes):
                return []
            keypoints, scores = estimator(image, bboxes=boxes)
            return to_people(keypoints, scores, height_width(frame), confidence_threshold=self.confidence_threshold)

        poses, self.crowd = extract_people(
            detect, frames, total=total, name=self.name, person=self.person, kept=self.kept
        )
        return poses

    def _load(self) -> tuple[Any, Any]:
        """rtmlib's detector and estimator, their input sizes read from the files."""
        import onnxruntime
        import rtmlib

        available = onnxruntime.get_available_providers()
        device = self.device
        check_choice("pose.device", device, get_args(Device))
        if device == "auto":
            device = "cuda" if "CUDAExecutionProvider" in available else "cpu"
        models = []
        for model, option in ((rtmlib.YOLOX, "detector"), (rtmlib.RTMPose, "estimator")):
            file = self._file(getattr(self, option))
            settings: dict[str, Any] = (
                {"score_thr": DETECTION_THRESHOLD} if model is rtmlib.YOLOX else {"to_openpose": True}
            )
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # it prints where the log says the same
                    models.append(model(str(file), device=device, **settings))
            except Exception as error:
                # onnxruntime's exceptions have no common base.
                raise UserError(f"pose.{option}={file}: cannot be read as an ONNX model ({error})") from error
            _report(option, file, models[-1].session, device)
        detector, estimator = models
        # (height, width) for the detector and (width, height) for the estimator, as rtmlib has it.
        detector.model_input_size = _input_size(detector, "detector")
        estimator.model_input_size = _input_size(estimator, "estimator")[::-1]
        columns = detector.session.get_outputs()[0].shape[-1:]
        # Raw YOLOX: box, objectness and a score for each class; with its own suppression: box and score.
        detector.det_mode = "multiclass" if columns and isinstance(columns[0], int) and columns[0] > 6 else "human"
        return detector, estimator

    def _file(self, weights: str) -> Path:
        """A local path as it is, an address as rtmlib's cached download."""
        from rtmlib.tools.file import download_checkpoint

        missing = "not found"
        if _is_address(weights) and not self.download and not kept(weights).exists():
            missing = "was not fetched before, and download=false forbids fetching it"
        elif _is_address(weights):
            try:
                return Path(download_checkpoint(weights, progress=False))
            except (OSError, RuntimeError, zipfile.BadZipFile) as error:
                missing = f"could not be downloaded ({error})"
        elif Path(weights).expanduser().exists():
            return Path(weights).expanduser()
        raise UserError(
            f"DWPose's weights are not there: {weights} {missing}. Needed are two ONNX files, a person detector (such"
            " as yolox_l.onnx of huggingface.co/yzd-v/DWPose, or rtmlib's yolox_m_8xb8-300e_humanart-c2c7a14a) and a"
            " whole-body estimator (dw-ll_ucoco_384.onnx of the same place, or rtmlib's"
            " rtmpose-l_simcc-ucoco_dw-ucoco_270e-384x288-2438fd99_20230728); set pose.detector=<file> and"
            " pose.estimator=<file>, or use pose=mediapipe or pose=file"
        )


def to_people(
    keypoints: np.ndarray, scores: np.ndarray, size: tuple[int, int], *, confidence_threshold: float
) -> list[Detection]:
    """rtmlib's whole-body result for one frame as our keypoints.

    The neck is the mean of the shoulders with the smaller of their scores, so that it is seen when both are.

    Args:
        keypoints: (people, 134, 2) pixels, rtmlib's OpenPose order.
        scores: (people, 134).
        size: (height, width) of the frame in pixels.
        confidence_threshold: below it a keypoint is unseen.

    Raises:
        UserError: another number of keypoints: the estimator is not one of 133 whole-body keypoints.
    """
    if keypoints.shape[1:] != (NUM_RTMLIB, 2):
        raise UserError(
            f"pose.estimator finds {counted(keypoints.shape[1] - 1, 'keypoint')}; expected a whole-body model of 133"
            " (COCO-WholeBody)"
        )
    height, width = size
    people = []
    for pixels, score in zip(keypoints, scores, strict=True):
        xy, confidence = np.zeros((NUM_KEYPOINTS, 2)), np.zeros(NUM_KEYPOINTS)
        for part, source in RTMLIB_PARTS.items():
            xy[PARTS[part]] = pixels[source] / (width, height)
            confidence[PARTS[part]] = np.where(score[source] >= confidence_threshold, np.clip(score[source], 0, 1), 0)
        people.append(Detection(xy, confidence))
    return people


def _report(option: str, file: Path, session: Any, device: str) -> None:
    """Log which execution provider runs: the one that was asked for is not always the one that comes."""
    providers = session.get_providers()
    log.info("dwpose %s: %s runs on %s", option, file.name, providers[0])
    if device == "cuda" and "CUDAExecutionProvider" not in providers:
        log.warning(
            "dwpose %s: CUDA was asked for but onnxruntime runs on %s; CUDA needs the package onnxruntime-gpu in place"
            " of onnxruntime, with a CUDA and cuDNN that match it",
            *(option, providers[0]),
        )


def kept(address: str) -> Path:
    """Where rtmlib keeps what it fetched of an address: the model, or the archive that it is in."""
    from rtmlib.tools import file

    archive = Path(file._get_rtmhub_dir(), "checkpoints", Path(urlparse(address).path).name)
    model = archive.with_name(archive.name.split(".")[0] + ".onnx")
    return model if model.is_file() else archive


def _is_address(weights: str) -> bool:
    return weights.startswith(("http://", "https://"))


def _input_size(model: Any, option: str) -> tuple[int, int]:
    """(height, width) that the ONNX file fixes."""
    shape = model.session.get_inputs()[0].shape
    if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
        raise UserError(
            f"pose.{option}={model.onnx_model}: its input has shape {shape}; expected (1, 3, height, width) with a"
            " fixed height and width"
        )
    return tuple(shape[2:])
