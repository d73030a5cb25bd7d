"""What tables need to know of each metric, without loading its network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """A metric as tables print it.

    Attributes:
        title: its name.
        higher_is_better: its direction.
        spec: Python format specification; the published tables' precision.
        group: the published tables' heading.
    """

    title: str
    higher_is_better: bool
    spec: str
    group: str

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"


CATALOG: dict[str, MetricInfo] = {
    "ssim": MetricInfo("SSIM", True, ".3f", "Image-GT"),
    "psnr": MetricInfo("PSNR", True, ".2f", "Image-GT"),
    "lpips": MetricInfo("LPIPS", False, ".3f", "Image-GT"),
    "mse-p": MetricInfo("MSE-P", False, ".2e", "Image-GT"),
    "fid": MetricInfo("FID", False, ".2f", "Image"),
    "clip-i": MetricInfo("CLIP-I", True, ".3f", "Image"),
    "fvd": MetricInfo("FVD", False, ".2f", "Video"),
    "clip-t": MetricInfo("CLIP-T", True, ".3f", "Video"),
    "psnr-face": MetricInfo("PSNR-face", True, ".2f", "Parts"),
    "psnr-hands": MetricInfo("PSNR-hands", True, ".2f", "Parts"),
    "mse-p-mini": MetricInfo("MSE-P-mini", False, ".2e", "Mini judges"),
    "clip-i-mini": MetricInfo("CLIP-I-mini", True, ".3f", "Mini judges"),
    "clip-t-mini": MetricInfo("CLIP-T-mini", True, ".3f", "Mini judges"),
}
