"""Networks that judge an aligned face, run by ONNX Runtime: who it is (ArcFace), how good a picture (eDifFIQA).

Dimensions: B faces, F frames, 5 landmarks: eyes, tip of the nose, corners of the mouth, from the left of the picture.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from uniface.face_utils import face_alignment

from eval.networks.base import Network
from src.common.digests import sha256
from src.pose.keypoints import PARTS, PoseSequence

SIDE = 112
# Landmarks nearer to each other, in pixels, are no face that anybody could tell.
SMALLEST = 2.0
# Of the 68 points of a face, what stands for each landmark: the six points round an eye, else the point itself.
LANDMARKS = (range(36, 42), range(42, 48), (30,), (48,), (54,))


class FaceNetwork(Network):
    """A network of an aligned 112 x 112 face in RGB, scaled to [-1, 1]. It runs on the CPU.

    Args:
        kind: its name, such as `arcface-w600k-r50` or `ediffiqa-tiny`.
        path: the published ONNX file, one input (B, 3, 112, 112) and one output (B, D).
    """

    def __init__(self, kind: str, path: Path) -> None:
        super().__init__(kind, sha256(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]

    def forward(self, faces_BCHW: Tensor) -> Tensor:
        """(B, D) float32 outputs of (B, 3, 112, 112) uint8 RGB faces."""
        pixels_BCHW = (faces_BCHW.float().cpu().numpy() - 127.5) / 127.5
        # Some are exported for a single face.
        step = self.input.shape[0] if isinstance(self.input.shape[0], int) else max(1, len(pixels_BCHW))
        outputs = [
            np.asarray(self.session.run(None, {self.input.name: pixels_BCHW[start : start + step]})[0])
            for start in range(0, len(pixels_BCHW), step)
        ]
        return torch.from_numpy(np.concatenate(outputs)).to(faces_BCHW.device)


def aligned_faces(frames_FHWC: np.ndarray, poses: PoseSequence) -> tuple[Tensor, np.ndarray]:
    """Faces brought to ArcFace's template by the landmarks among their pose's 68 face keypoints, by uniface.

    Args:
        frames_FHWC: uint8 RGB.
        poses: F of them; a face counts as found where all landmarks are seen, and not in one place.

    Returns:
        Faces (B, 3, 112, 112) uint8 RGB of the frames that show one, and which these are, (F,) bool.
    """
    height, width = frames_FHWC.shape[1:3]
    # A pixel's centre lies half a pixel from its corner, and is what uniface counts from.
    points_FK2 = poses.xy[:, PARTS["face"]] * np.array([width, height], np.float32) - np.float32(0.5)
    seen_FK = poses.mask[:, PARTS["face"]]
    seen_F = np.stack([seen_FK[:, list(indices)].all(1) for indices in LANDMARKS]).all(0)
    marks_F52 = np.stack([points_FK2[:, list(indices)].mean(1) for indices in LANDMARKS], 1)
    found_F = seen_F & (np.ptp(marks_F52, axis=1).max(1) >= SMALLEST)
    faces = [
        face_alignment(frame_HWC, marks_52, SIDE)[0]
        for frame_HWC, marks_52 in ((frames_FHWC[frame], marks_F52[frame]) for frame in np.flatnonzero(found_F))
    ]
    if not faces:
        return torch.zeros(0, 3, SIDE, SIDE, dtype=torch.uint8), found_F
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous(), found_F
