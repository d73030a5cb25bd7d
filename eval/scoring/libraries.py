"""Versions of the code that enters the numbers: of libraries, and our own."""

import ast
import functools
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from src.common.digests import digest

_NAMES = ("torch", "torchvision", "torchmetrics", "scikit-image", "lpips", "clean-fid", "cd-fvd", "transformers")
_ROOMS = tuple(
    Path(__file__).parents[2] / room
    for room in ("eval/metrics", "eval/networks", "eval/scoring", "src/pose", "src/media")
)


def library_versions() -> dict[str, str]:
    """By name; looked up once, since the key of every kept feature asks."""
    return dict(_found())


@functools.cache
def _found() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in (*_NAMES, "pillow", "av", "numpy", "scipy")}
    return found | {"opencv": cv2.__version__}  # installed under any of four names


def code_versions() -> list[Any]:
    """What every key of something kept holds: of libraries, our metrics, and what reads frames and poses."""
    return [library_versions(), code_sha256(_ROOMS)]


@functools.cache
def code_sha256(folders: Sequence[Path]) -> str:
    """SHA-256 of what the modules in folders do: not of comments, docstrings and the layout of lines."""
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    return digest([[file.name, _done_by(file.read_text("utf-8-sig"))] for file in files])


def _done_by(source: str) -> Any:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(ast.Constant(str())), *rest]:
                node.body = rest  # type: ignore[attr-defined]
    return _said(tree)


def _said(node: Any) -> Any:
    """A syntax tree as plain values; without what is empty, which later versions of Python have more of."""
    match node:
        case ast.AST():
            fields = ast.iter_fields(node)
            return [type(node).__name__, *([name, _said(value)] for name, value in fields if value not in (None, []))]
        case list():
            return [_said(item) for item in node]
    return repr(node)
