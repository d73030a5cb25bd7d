"""Files that were damaged, exchanged or made up, and settings of every wrong kind; all from a seeded generator."""

import dataclasses
import json
import os
import pickle
import random
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from src.common.typed import _parts
from tests.robustness.malformed import ODD_NUMBERS, ODD_TEXTS

# Values of settings as a command line has them; a large number would only make a command long.
ODD_SETTINGS = (
    *("abc", "nan", "inf", "-inf", "-1", "0", "-0.5", "1.5", "1e400", "true", "null", "", "[]", "[1,2]", "{a:1}"),
    *("{}", "[[1", "'", '"', "$", "${", "${oc.env:HOME}", "${nothing}", "${subject}", "../../x", "/dev/null", "日本語"),
    *(
        "a=b",
        "a,b",
        "-99999999999999999999",
        "1e-320",
        "0x10",
        "1_0",
        "None",
        "???",
        "x" * 300,
        "!!python/name:os",
        "\t",
    ),
)
ATTACKS = ("{_target_: os.system, _args_: [touch owned]}", '{_target_: builtins.exec, _args_: [\'open("owned","w")\']}')


class Payload:
    """A pickle that leaves a file where it is opened as one."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch owned",)


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file in place; what was done, in words."""
    kinds = ["bytes", "bytes", "bytes", "instead"]
    if path.suffix in (".json", ".yaml", ".csv", ".tsv"):
        kinds += ["values"] * (8 if path.suffix in (".json", ".yaml") else 0) + ["text"] * 2
    kind = chance.choice(kinds)
    if kind == "instead":
        return _instead(path, chance)
    data = path.read_bytes()
    if kind == "values":
        return _values(path, data, chance)
    if kind == "text":
        lines = data.decode(errors="replace").splitlines() or [""]
        number = chance.randrange(len(lines))
        parts = lines[number].replace("\t", ",").split(",")
        parts[chance.randrange(len(parts))] = odd = _text(chance)
        lines[number] = ("\t" if path.suffix == ".tsv" else ",").join(parts)
        path.write_bytes("\n".join(lines).encode(errors="replace"))
        return f"line {number} with {odd!r}"
    path.write_bytes(changed := _bytes(data, chance))
    return f"{len(data)} bytes, {len(changed)} after a change"


def keys_of(cls: Any) -> Iterator[str]:
    """Dotted names of all settings of a dataclass, groups among them."""
    return (key for key, _ in kinds_of(cls))


def kinds_of(cls: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same with the type of each."""
    for name, kind in typing.get_type_hints(cls, include_extras=True).items():
        yield f"{prefix}{name}", kind
        for part in _parts(kind):
            part = typing.get_args(part)[0] if typing.get_origin(part) is typing.Annotated else part
            if dataclasses.is_dataclass(part):
                yield from kinds_of(part, f"{prefix}{name}.")


def _bytes(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        if not out:
            break
        size = len(out)
        start = chance.choice(
            [chance.randrange(size), chance.randrange(min(size, 200)), size - 1 - chance.randrange(min(size, 200))]
        )
        length = chance.randint(1, 8)
        kind = chance.choice(["overwrite", "remove", "double", "cut", "extreme"])
        if kind == "overwrite":
            out[start : start + length] = chance.randbytes(length)
        elif kind == "extreme":
            out[start : start + length] = chance.choice([b"\x00", b"\xff", b"\x7f", b"\x80"]) * length
        elif kind == "remove":
            del out[start : start + length]
        elif kind == "double":
            out[start:start] = out[start : start + 64 * length]
        else:
            del out[start:]
    return bytes(out)


def _instead(path: Path, chance: random.Random) -> str:
    """Something else under the file's name."""
    kind = chance.choice(
        ["empty", "pickle", "pipe", "folder", "link", "device", "sparse", "deep", "absent", "zip bomb"]
    )
    path.unlink()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Payload()))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(2**31)
    elif kind == "deep":
        path.write_text("[" * 100_000)
    elif kind == "zip bomb":
        path.write_bytes(b"PK\x05\x06" + bytes(4) + b"\xff\xff" * 2 + bytes(10))
    return f"instead: {kind}"


def _values(path: Path, data: bytes, chance: random.Random) -> str:
    is_json = path.suffix == ".json"
    tree = json.loads(data) if is_json else yaml.safe_load(data)
    for _ in range(chance.randint(1, 2)):
        tree = _exchanged(tree, chance)
    text = json.dumps(tree, default=str) if is_json else _as_yaml(tree)
    path.write_bytes(text.encode(errors="surrogatepass"))
    return f"values: {text[:300]}"


def _as_yaml(tree: Any) -> str:
    try:
        return yaml.safe_dump(tree, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError, ValueError, OverflowError):
        return json.dumps(tree, default=str)


def _exchanged(node: Any, chance: random.Random) -> Any:
    children = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    if not children or chance.random() < 0.15:
        return chance.choice([lambda: _value(chance), lambda: [node, node], lambda: {"a": node}])()
    key = chance.choice(children)
    node = dict(node) if isinstance(node, dict) else list(node)
    what = chance.choice(["into", "into", "into", "remove", "more"])
    if what == "into":
        node[key] = _exchanged(node[key], chance)
    elif what == "remove":
        del node[key]
    elif isinstance(node, list):
        node.insert(key, node[key])
    else:
        node[_text(chance)[:50]] = _value(chance)
    return node


def _value(chance: random.Random) -> Any:
    return chance.choice(
        [
            lambda: None,
            lambda: chance.choice(ODD_NUMBERS),
            lambda: _text(chance),
            lambda: [],
            lambda: {},
            lambda: {"_target_": "os.system", "_args_": ["touch owned"]},
            lambda: [chance.choice(ODD_NUMBERS)] * chance.randint(1, 3),
        ]
    )()


def _text(chance: random.Random) -> str:
    return chance.choice(ODD_TEXTS)
