"""Every metric by its key: how tables print it, what it needs, and how a clip is brought to it.

Importing this loads no network and no metric: tables read it too. A metric's own file holds its arithmetic as a
torchmetrics class; the entry here says which network looks at the frames and what of a clip goes into `update`.

To add a metric: a file beside this one, its network in `eval.networks` if it has one, an entry in `eval.metrics.paper`
or `eval.metrics.modern`.
"""

from collections.abc import Iterable

from eval.metrics.modern import MODERN_SPECS
from eval.metrics.paper import PAPER_SPECS
from eval.metrics.spec import MetricSpec
from src.common.errors import UserError

_SPECS = (*PAPER_SPECS, *MODERN_SPECS)
_GROUPS = tuple(dict.fromkeys(spec.group for spec in _SPECS))
# In the order of tables: what shares a heading stands together.
REGISTRY: dict[str, MetricSpec] = {
    spec.key: spec for spec in sorted(_SPECS, key=lambda spec: _GROUPS.index(spec.group))
}
# Names that stand for several metrics, such as metrics=disco. The miniature judges know rendered people only.
_DISCO = ("fid", "ssim", "psnr", "lpips", "l1", "fid-vid", "fvd")
SETS: dict[str, tuple[str, ...]] = {
    "paper": ("ssim", "psnr", "lpips", "mse-p", "fid", "clip-i", "fvd", "clip-t"),
    "disco": _DISCO,
    "modern": tuple(spec.key for spec in MODERN_SPECS if spec.key not in _DISCO),
    "all": tuple(key for key in REGISTRY if not key.endswith("-mini")),
}


def metric_keys(names: str | Iterable[str]) -> tuple[str, ...]:
    """Keys of `REGISTRY`, each name of `SETS` among them replaced by its metrics, each once.

    Args:
        names: one or several.

    Raises:
        UserError: nothing is named, or a name is neither, or a metric is named twice.

    >>> metric_keys(["disco", "clip-t"])
    ('fid', 'ssim', 'psnr', 'lpips', 'l1', 'fid-vid', 'fvd', 'clip-t')
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if not names or len(set(names)) < len(names) or any(name not in REGISTRY and name not in SETS for name in names):
        raise UserError(
            f"metrics must be some of {', '.join((*SETS, *REGISTRY))}, each once; got {', '.join(names) or 'none'}"
        )
    return tuple(dict.fromkeys(key for name in names for key in SETS.get(name, (name,))))
