"""Malformed files without end: valid ones with bytes changed, and plain data with parts exchanged.

`FUZZ_EXAMPLES=2000 pytest tests/robustness` is the long form, with other examples each time.
"""

import contextlib
import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from src.common.errors import UserError

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
SECONDS = 60

fuzzed = hypothesis.settings(
    max_examples=int(EXAMPLES or 30),
    derandomize=EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

# What parsers and programs trip over.
ODD_NUMBERS = [0, -1, 1, 1.5, -0.0, 1e-300, 1e308, -1e308, 2**31, 2**63, 2**64, -(2**63), 10**30, 1e400, True, False]
ODD_TEXTS = [
    *("", " ", "nan", "inf", "-inf", "1", "null", "true", "..", ".", "/etc/passwd", "../../x", "a/b", "a\\b", "\x00"),
    *("\n", "\x1b[2J", "日本語", "päß", "it's", "a=b", "$(touch x)", "${oc.env:HOME}", "=1+1", "<script>", "\ud800"),
    "x" * 300,
]
leaves = st.one_of(
    st.none(),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.floats(),
    st.integers(),
    st.text(max_size=8),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file with a few of its bytes overwritten, taken out, doubled, or all after them cut off."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        # Headers lie at the beginning and, in zip files and videos, at the end.
        size = len(data)
        ends = (st.integers(0, min(size, 200) - 1), st.integers(max(size - 200, 0), size - 1))
        start = draw(st.one_of(st.integers(0, size - 1), *ends))
        length = draw(st.integers(1, 8))
        kind = draw(st.sampled_from(["overwrite", "remove", "double", "cut", "extreme"]))
        if kind == "overwrite":
            data[start : start + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "extreme":
            data[start : start + length] = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\x80"])) * length
        elif kind == "remove":
            del data[start : start + length]
        elif kind == "double":
            data[start:start] = data[start : start + 64 * length]
        else:
            del data[start:]
    return bytes(data)


@st.composite
def exchanged(draw: st.DrawFn, valid: Any) -> Any:
    """Plain data with one or two parts, anywhere in it, exchanged for something else, doubled or gone."""
    changed = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 2))):
        changed = _exchanged_once(draw, changed)
    return changed


def _exchanged_once(draw: st.DrawFn, node: Any) -> Any:
    children = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    if not children or draw(st.integers(0, 5)) == 0:
        return draw(st.one_of(values, st.just([node, node]), st.just({"a": node})))
    key = draw(st.sampled_from(children))
    node = dict(node) if isinstance(node, dict) else list(node)
    what = draw(st.sampled_from(["into", "into", "into", "remove", "double"]))
    if what == "into":
        node[key] = _exchanged_once(draw, node[key])
    elif what == "remove":
        del node[key]
    elif isinstance(node, list):
        node.insert(key, node[key])
    return node


def as_json(value: Any) -> bytes:
    """JSON as a careless writer has it: with NaN, and lone surrogates as escapes."""
    return json.dumps(value).encode()


@contextlib.contextmanager
def time_limit(seconds: int = SECONDS) -> Iterator[None]:
    """Fail where the block takes longer."""

    def stop(*_: object) -> None:
        pytest.fail(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(read: Callable[[], Any]) -> Any:
    """What `read` returns, or None where it refuses in one line; any other exception, a warning or a hang fails."""
    with time_limit(), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        try:
            return read()
        except UserError as error:
            line = str(error)
            assert line.isprintable() and 0 < len(line) <= 2100, f"no line for people: {line!r}"
            return None
