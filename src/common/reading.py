"""Files from outside, read within limits: what is too large, too deep or no plain data is refused before it is built.

A file may come from anyone: a shared run, a download, a web page. Nothing read here runs code, follows a name out of
its folder, waits for a pipe, or takes more memory than the limits of its kind say.
"""

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from src.common.errors import DamagedFile, UserError, in_one_line

MEBIBYTE = 2**20
MAX_NAME_BYTES = 150
_MAX_INTEGER = 2**63
_MAX_DIGITS = 100  # of one in YAML, in whatever base


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a text file may hold.

    Attributes:
        max_bytes: of the file.
        max_values: numbers, strings, lists and mappings in it, all together.
        max_depth: of lists and mappings in one another.
    """

    max_bytes: int = 16 * MEBIBYTE
    max_values: int = 1_000_000
    max_depth: int = 32


RECORD = Limits()
# PyYAML takes some fifteen seconds for a megabyte.
YAML_RECORD = Limits(max_bytes=MEBIBYTE // 4, max_values=100_000)


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading that is a file: a pipe would make the program wait, a device never end.

    Raises:
        ResourceError: it cannot be opened.
        UserError: it is a folder, a pipe, a device or a socket.
    """
    with in_one_line(path, "read"):
        try:
            # Not to block on a pipe that nobody writes into.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except ValueError as error:
            raise UserError(f"{path} is no file name: {error}") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe, device or socket"
        raise UserError(f"{path} is {what}: expected a file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | Path, *, max_bytes: int) -> bytes:
    """The content of a file of at most `max_bytes`.

    Raises:
        ResourceError: it cannot be read.
        UserError: it is no regular file, or larger.
    """
    with open_regular(path) as file, in_one_line(path, "read"):
        data = file.read(max_bytes + 1) if os.fstat(file.fileno()).st_size <= max_bytes else None
    if data is None or len(data) > max_bytes:
        raise UserError(f"{path} is larger than the {size_in_words(max_bytes)} that such a file may have")
    return data


def read_text(path: str | Path, *, max_bytes: int) -> str:
    """A text file in UTF-8, with or without a byte order mark; errors as of `read_bytes`.

    Raises:
        DamagedFile: it is not UTF-8.
    """
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedFile(
            f"{path} is not text in UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
        ) from None


def read_json(path: str | Path, limits: Limits = RECORD) -> Any:
    """Read a JSON file: lists, mappings with distinct keys, strings, finite numbers of 64 bits, true, false, null.

    Raises:
        ResourceError: it cannot be read.
        DamagedFile: it is not JSON, or holds anything else.
        UserError: it is no regular file, or beyond the limits.
    """
    text = read_text(path, max_bytes=limits.max_bytes)
    if text.count(",") + text.count("[") + text.count("{") + text.count(":") > limits.max_values:
        raise UserError(f"{path} holds more than the {limits.max_values} values that such a file may have")
    with in_one_line(path, "read"):
        try:
            value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
        except RecursionError:
            raise DamagedFile(_too_deep(path, limits)) from None
        except ValueError as error:
            raise DamagedFile(f"{path} is not readable as JSON: {error}") from None
        _check_tree(path, value, limits)
    return value


def read_yaml(path: str | Path, limits: Limits = YAML_RECORD) -> Any:
    """Read a YAML file of plain data: what JSON has, and keys that are numbers; no alias, no tag, no date.

    Raises:
        As `read_json`.
    """
    text = read_text(path, max_bytes=limits.max_bytes)
    with in_one_line(path, "read"):
        try:
            value = yaml.load(text, _PlainLoader)
        except RecursionError:
            raise DamagedFile(_too_deep(path, limits)) from None
        # PyYAML's constructors raise what int() or datetime() do.
        except (yaml.YAMLError, ValueError, OverflowError, IndexError, TypeError, KeyError, AttributeError) as error:
            raise DamagedFile(f"{path} is not YAML: {error}") from None
        _check_tree(path, value, limits)
    return value


def safe_name(name: Any, what: str) -> str:
    """`name` if it can name a file or folder within the folder that it belongs to.

    Args:
        name: from outside: a table, a manifest, a download.
        what: it is the name of, for the message.

    Raises:
        UserError: not a string, empty, hidden, with a separator or a control character, or too long.
    """
    good = isinstance(name, str) and name.isprintable() and not name.startswith(".") and name == name.strip()
    if not good or not name or "/" in name or "\\" in name:
        raise UserError(
            f"{what} is {name!r:.200}: expected a name without slashes, without control characters, and not beginning "
            "with a dot"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise UserError(f"{what} is {name[:40]}...: expected at most {MAX_NAME_BYTES} bytes")
    return name


def check_encoding(names: Iterable[str | Path]) -> None:
    """Raise a UserError where a name or text holds bytes that are no UTF-8: no setting, record or log can hold it."""
    for name in map(str, names):
        if not _encodable(name):
            raise UserError(
                f"{name} is not in UTF-8 and cannot be encoded, though every name and text here must be: rename it"
            )


def size_in_words(count: float) -> str:
    """Bytes for people.

    >>> size_in_words(16 * 2**20), size_in_words(3 * 2**39)
    ('16 MiB', '1.5 TiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, of which a few lines can stand for gigabytes, and without a key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases (*name) are not read here", mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        # To the base of sixty (1:1:1…), a file full of it takes half a minute.
        if len(node.value) > _MAX_DIGITS:
            raise ConstructorError(None, None, "a whole number of more than 64 bits", node.start_mark)
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            raise ConstructorError(None, None, "a key is there twice", node.start_mark)
        return mapping


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r:.100} is there twice")
    return mapping


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def _too_deep(path: str | Path, limits: Limits) -> str:
    return f"{path} is nested more than {limits.max_depth} deep"


def _check_tree(path: str | Path, root: Any, limits: Limits) -> None:
    """Raise unless all values are plain, finite and printable, and the nesting is shallow."""
    level, count = [root], 0
    for _ in range(limits.max_depth + 1):
        below = []
        for value in level:
            if isinstance(value, dict):
                below += value.keys()
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif (fault := _fault(value)) is not None:
                raise DamagedFile(f"{path} holds {fault}")
        count += len(below)
        if count > limits.max_values:
            raise UserError(f"{path} holds more than the {limits.max_values} values that such a file may have")
        if not below:
            return
        level = below
    raise DamagedFile(_too_deep(path, limits))


def _fault(value: Any) -> str | None:
    if isinstance(value, float):
        return None if isfinite(value) else f"{value}, which is no finite number"
    if isinstance(value, str):
        return None if value.isascii() or _encodable(value) else "half of a character (a lone surrogate)"
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        return "a whole number of more than 64 bits"
    return None if value is None or isinstance(value, int) else f"a {type(value).__name__}, which is no plain data"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
