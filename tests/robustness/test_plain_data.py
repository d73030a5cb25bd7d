"""JSON, YAML, arrays and names from outside: what is not plain, finite and small is refused before it is built."""

import io
import json
import math
import os
import socket
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.common.arrays import map_npy, read_npz
from src.common.errors import DamagedFile, ResourceError, UserError
from src.common.reading import Limits, read_json, read_yaml, safe_name
from tests.robustness.malformed import ODD_TEXTS, as_json, exchanged, fuzzed, mutated, outcome, time_limit, values

RECORD = {"name": "a", "numbers": [1, 2.5, -3], "nested": {"deep": [{"x": None}, True]}, "text": "päß 日本"}
SMALL = Limits(max_bytes=100_000, max_values=1000, max_depth=8)


def plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, dict):
        return depth < 8 and all(plain(part, depth + 1) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return depth < 8 and all(plain(part, depth + 1) for part in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) <= 2**63
    return value is None or (isinstance(value, str) and bool(value.encode() or True))


@pytest.mark.parametrize("read", [read_json, read_yaml])
@fuzzed
@given(data=st.one_of(values.map(as_json), exchanged(RECORD).map(as_json), mutated(as_json(RECORD)), st.binary()))
def test_records(tmp_path: Path, read: Callable, data: bytes) -> None:
    (tmp_path / "record").write_bytes(data)
    assert plain(outcome(lambda: read(tmp_path / "record", SMALL)))


@pytest.mark.parametrize("read", [read_json, read_yaml])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 50_000, "nested more than 8 deep|more than the 1000 values"),
        ("[" * 900 + "]" * 900, "nested more than 8 deep"),
        ('{"a":' * 9 + "1" + "}" * 9, "nested more than 8 deep"),
        ("[" + "0," * 2000 + "0]", "holds more than the 1000 values"),
        ("[" + " " * 100_000 + "]", "is larger than the 97.7 KiB"),
        ('{"a": 1, "a": 2}', "is there twice"),
        ("[" + "9" * 5000 + "]", "(JSON|YAML): Exceeds the limit|of more than 64 bits"),
        ("[1" + "0" * 30 + "]", "a whole number of more than 64 bits"),
        ('["\\ud800"]', "lone surrogate"),
        ("\x00", "JSON|YAML"),
    ],
)
def test_bombs(tmp_path: Path, read: Callable, text: str, message: str) -> None:
    (tmp_path / "bomb").write_text(text)
    with time_limit(20), pytest.raises(UserError, match=message):
        read(tmp_path / "bomb", SMALL)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "!!python/object/apply:os.system [touch owned]",
        "a: !!python/name:os.system",
        "2020-13-45",
        "2020-01-01",
        "!!binary aGk=",
        "!!set {a}",
        "a: .nan",
        "1: a\ntrue: b",
        "? [a]\n: b",
        pytest.param("1:" * 120_000 + "1", id="to the base of sixty"),
    ],
)
def test_yaml_that_is_not_plain(tmp_path: Path, text: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("record.yaml").write_text(text)
    with time_limit(2), pytest.raises(DamagedFile):
        read_yaml("record.yaml")
    assert os.listdir() == ["record.yaml"]


def special(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder":
        path.mkdir()
    return {"device": Path("/dev/zero"), "absent": tmp_path / "x", "null": Path("a\0b")}.get(kind, path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device", "absent", "null"])
@pytest.mark.parametrize("read", [read_json, read_yaml, read_npz, map_npy])
def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path, monkeypatch, kind, read) -> None:
    monkeypatch.chdir(tmp_path)
    with time_limit(5), pytest.raises(UserError, match="expected a file|cannot be read: |no file name"):
        read(Path(os.path.relpath(special(Path(), kind))) if kind == "socket" else special(tmp_path, kind))


def test_no_memory_and_no_permission_are_not_damage(tmp_path: Path, monkeypatch) -> None:
    """So that nobody deletes what is whole."""
    (tmp_path / "a.json").write_text("[1]")

    def fail(error: Exception) -> Callable:
        def run(*_: object, **__: object) -> None:
            raise error

        return run

    for where, error, cause in (
        ("os.open", PermissionError(13, "Permission denied", "a.json"), "permission denied"),
        ("json.loads", MemoryError(), "no memory is left"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, fail(error))
            with pytest.raises(ResourceError, match=f"a.json cannot be (read|used): {cause}") as caught:
                read_json(tmp_path / "a.json")
        assert "delete" not in str(caught.value) and "damaged" not in str(caught.value)
    assert read_json(tmp_path / "a.json") == [1]


@fuzzed
@given(name=st.one_of(st.text(max_size=200), st.sampled_from(ODD_TEXTS), values))
def test_a_safe_name_stays_in_its_folder(tmp_path: Path, name: Any) -> None:
    if outcome(lambda: safe_name(name, "the name")) is not None:
        (tmp_path / name).write_text("")
        assert name in os.listdir(tmp_path)
        (tmp_path / name).unlink()


def test_names_as_people_have_them_are_safe() -> None:
    for name in ("clip (1).mp4", "päß", "日本語", "it's", "a=b", "-x", "a..b", "%s"):
        assert safe_name(name, "the name") == name


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + data


def zipped(data: bytes, name: str = "xy.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return file.getvalue()


ARRAYS = npz(xy=np.arange(12.0).reshape(3, 4), mask=np.ones(3, bool), version=np.int64(1))
ARRAY = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", bytes(24))


@fuzzed
@given(data=mutated(ARRAYS))
def test_npz(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    for array in (outcome(lambda: read_npz(tmp_path / "a.npz", max_bytes=10_000)) or {}).values():
        assert array.dtype.kind in "biuf" and array.nbytes <= 10_000


@fuzzed
@given(data=mutated(ARRAY))
def test_npy(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    array = outcome(lambda: map_npy(tmp_path / "a.npy"))
    if array is not None:
        assert array.dtype.kind in "biuf" and array.nbytes < len(data) and len(array.tobytes()) == array.nbytes


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000, 1000), }"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(npy(HUGE)), "which its size contradicts"),
        (zipped(npy(HUGE.replace("<f4", "|O"))), "expected plain numbers"),
        (zipped(npy(HUGE.replace("'<f4'", "[('a', '<f4')]"))), "expected plain numbers"),
        (zipped(npy(HUGE.replace("<f4", "<U9999999"))), "expected plain numbers"),
        (zipped(npy("(" * 5000)), "header is damaged"),
        (zipped(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }")), "shape"),
        (zipped(npy(HUGE, version=b"\x02\x00")), "version"),
        (zipped(bytes(200_000_000)), "unpacks to 191 MiB, more than the 1 MiB"),
        (zipped(b"x", "a.txt"), "is no array"),
        (b"PK\x05\x06" + bytes(4) + struct.pack("<HHLLH", 60_000, 60_000, 0, 0, 0), "more than 64 arrays"),
        (b"", "no zip file"),
    ],
)
def test_npz_bombs(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "bomb.npz").write_bytes(data)
    tracemalloc.start()
    try:
        with time_limit(20), pytest.raises(UserError, match=message):
            read_npz(tmp_path / "bomb.npz", max_bytes=2**20)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_a_pickle_in_an_array_is_not_run(tmp_path: Path, monkeypatch) -> None:
    class Attack:
        def __reduce__(self) -> tuple:
            return os.system, ("touch owned",)

    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", xy=np.array([Attack()], object))
    np.save("a.npy", np.array([Attack()], object))
    for read, name in ((read_npz, "a.npz"), (map_npy, "a.npy")):
        with pytest.raises(DamagedFile, match="expected plain numbers"):
            read(name)
    assert sorted(os.listdir()) == ["a.npy", "a.npz"]


def test_a_map_is_as_long_as_its_header_says(tmp_path: Path) -> None:
    for data in (ARRAY[:-1], ARRAY + b"x", npy(HUGE, bytes(100)), npy(HUGE.replace("10000000000, 1000", "0,"))):
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(DamagedFile):
            map_npy(tmp_path / "a.npy")


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"f": rng.random((3, 4)), "t": np.asfortranarray(rng.random((3, 4))), "e": np.zeros((0, 2), np.float16)}
    arrays |= {"b": np.array(True), "i": np.arange(5, dtype=">i4"), "big": rng.random(300_000)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    for name in ("f", "t", "i"):
        np.save(tmp_path / "a.npy", arrays[name])
        assert np.array_equal(map_npy(tmp_path / "a.npy"), arrays[name])


def test_json_with_everything_allowed_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(RECORD, ensure_ascii=False))
    assert read_json(tmp_path / "a.json") == RECORD
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json") == [1]
