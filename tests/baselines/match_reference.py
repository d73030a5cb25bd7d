"""`python -m tests.baselines.match_reference FILE`: the largest absolute difference by output, as one line of JSON.

FILE is a safetensors file of random weights under the public names, inputs and outputs; sizes are in its metadata
(section 6 of `shared/baselines/magicanimate.md` and `disco.md`). Everything runs in float64 unless `--dtype float32`
is given. An output that the model has no counterpart for is null.
"""

import argparse
import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tests.baselines import disco_reference, magicanimate_reference


class Reference:
    """A fixture: sizes, weights by prefix, inputs and outputs, tensors of floats in the given precision."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        with safe_open(path, "pt") as file:
            self.sizes = {key: _parsed(value) for key, value in file.metadata().items()}
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        self.tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in self.tensors.items()}
        self.dtype = dtype

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names start so, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def _parsed(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@torch.no_grad()
def differences(path: Path, dtype: torch.dtype = torch.float64) -> dict[str, float | None]:
    """The largest absolute difference of each output in the file."""
    reference = Reference(path, dtype)
    compute: Callable[[Reference], dict[str, Tensor]]
    compute = magicanimate_reference.outputs if reference.part("motion.") else disco_reference.outputs
    ours = compute(reference)
    result = {}
    for name, expected in reference.part("out.").items():
        got = ours.get(name)
        if got is None:
            result[name] = None
        elif got.shape != expected.shape:
            raise SystemExit(f"{path}: {name} has shape {tuple(expected.shape)}, ours {tuple(got.shape)}")
        else:
            result[name] = float((got.double() - expected.double()).abs().max())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    args = parser.parse_args()
    result = differences(args.file, getattr(torch, args.dtype))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
