"""Fréchet distances of other networks than FID's and FVD's: DINOv2, VideoMAE v2, a 3D ResNet."""

from typing import ClassVar

from eval.metrics.frechet import FrechetMetric


class FDDINOv2(FrechetMetric):
    """Fréchet distance of DINOv2 features (FD-DINOv2).

    Range [0, inf), lower is better, about 0 for identical sets. Resolution: squeezed to 224 x 224
    (`eval.networks.dinov2.DINOv2`). Colour: 8-bit RGB. Pooling: all frames of all videos form one set. Network: DINOv2
    ViT-L/14 (399fba97…; Apache-2.0), 1024 features. Source: Stein et al. 2023, dgm-eval.
    """

    unit: ClassVar[str] = "frames"


class VideoMAEFVD(FrechetMetric):
    """Fréchet distance of VideoMAE v2 features: FVD without its bias towards the look of single frames.

    Range [0, inf), lower is better, about 0 for identical sets. Resolution: resized to 224 x 224
    (`eval.networks.videomae.VideoMAE`). Colour: 8-bit RGB in [0, 1]. Pooling: the clips of FVD. Network: VideoMAE v2
    ViT-g fine-tuned on Something-Something v2 (5a210a92…; Apache-2.0), 1408 features. Source: Ge et al. 2024, cd-fvd.
    """

    unit: ClassVar[str] = "clips"


class FIDVID(FrechetMetric):
    """Fréchet distance of 3D ResNet-50 features (FID-VID of DisCo-family tables).

    Range [0, inf), lower is better, about 0 for identical sets. Resolution: resized to 112 x 112
    (`eval.networks.resnet3d.ResNet3D`). Colour: 8-bit RGB. Pooling: the clips of FVD, of 16 frames. Network: 3D
    ResNet-50 of Kinetics-400, `resnet-50-kinetics.pth` (MIT; its publisher gives no checksum: that of the file used is
    recorded). Source: the public code of Wang et al. 2024 (DisCo), `FVD-3DRN50`; Balaji et al. 2019.
    """

    unit: ClassVar[str] = "clips"
