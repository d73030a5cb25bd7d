"""Killed at any moment, the writer leaves the old or the new, and what it left over can be cleared."""

import errno
import itertools
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.common import atomic
from src.common.atomic import atomic_path, clear_leftovers
from src.common.errors import ResourceError, UserError
from src.common.stopping import Stopped, raising_stops

STEPS = ("rename", "replace", "fsync")
KILLED = 77


def write_file(target: Path, text: str) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text(text)


def write_folder(target: Path, text: str) -> None:
    with atomic_path(target) as temporary:
        (temporary / "below").mkdir(parents=True)
        (temporary / "one.txt").write_text(text)
        (temporary / "below" / "two.txt").write_text(text)


def content(target: Path) -> set[str] | None:
    """The distinct contents of a file, or of all files of a folder; None: nothing there."""
    if not target.exists():
        return None
    files = [path for path in target.rglob("*") if path.is_file()] if target.is_dir() else [target]
    return {path.read_text() for path in files}


def killed_at(step: int, write: Callable[[], None], *, after: bool) -> bool:
    """Run `write` in a process that dies before or after its step of that number; False: it has fewer steps."""
    child = os.fork()
    if child == 0:
        numbers = itertools.count(1)

        def dying(call: Callable[..., object]) -> Callable[..., object]:
            def run(*arguments: object) -> object:
                number = next(numbers)
                if number == step and not after:
                    os._exit(KILLED)
                result = call(*arguments)
                if number == step:
                    os._exit(KILLED)
                return result

            return run

        for name in STEPS:
            setattr(os, name, dying(getattr(os, name)))
        atomic._exchange = dying(atomic._exchange)
        atomic._remove = dying(atomic._remove)
        try:
            write()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


@pytest.fixture(params=[True, False], ids=["exchange", "no-exchange"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the exchange of two names, and as on file systems that have none."""
    # A killed process loses nothing that it wrote; only a machine that stops does.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    if not request.param:
        monkeypatch.setattr(atomic, "_exchange", lambda a, b: False)
    yield


@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_kill_at_any_step_leaves_old_or_new(tmp_path: Path, write, old, after) -> None:
    steps = 0
    for step in range(1, 40):
        target = tmp_path / str(step) / "target"
        if old:
            write(target, old)
        if not killed_at(step, lambda target=target: write(target, "new"), after=after):
            break
        steps += 1
        clear_leftovers(target.parent)
        assert content(target) in ({"new"}, {old} if old else None), f"killed at step {step}"
        assert [path.name for path in target.parent.iterdir()] in ([], ["target"])
    assert steps >= (3 if write is write_file else 6), "the test must have met every step"


def test_with_an_exchange_the_place_is_never_empty(tmp_path: Path, monkeypatch) -> None:
    """After a kill, before anything is cleared."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for step in range(1, 40):
        target = tmp_path / str(step) / "target"
        write_folder(target, "old")
        if not killed_at(step, lambda target=target: write_folder(target, "new"), after=True):
            break
        assert content(target) in ({"old"}, {"new"})
    assert step > 6, "the test must have met every step"


def test_leftovers_of_the_living_and_files_of_others_stay(tmp_path: Path) -> None:
    kept = [".hidden.tmp", "x.tmp", ".posecrafter-notes", ".posecrafter-12345678-1-1-12345678.bak"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
        (tmp_path / "below").mkdir()
        elsewhere = tmp_path / "below" / ".posecrafter-00000000-1-1-12345678.tmp.json"
        elsewhere.write_text("of another machine, a moment ago")
        dead = tmp_path / "below" / temporary.name.replace(f"-{os.getpid()}-", "-4194304-")
        dead.write_text("of a process that is gone")
        again = tmp_path / f"{temporary.name.rsplit('-', 2)[0]}-1-12345678.tmp"
        again.write_text("of an earlier process of this number")
        assert clear_leftovers(tmp_path) == 2
        assert temporary.exists() and elsewhere.exists() and not dead.exists() and not again.exists()
        assert clear_leftovers(tmp_path, sole_writer=True) == 1
        assert temporary.exists() and not elsewhere.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "a.txt", "below"])


def test_on_an_error_nothing_is_left_and_the_old_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", "old")
    with pytest.raises(RuntimeError, match="stopped"), atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        raise RuntimeError("stopped")
    assert content(tmp_path / "folder") == {"old"} and len(list(tmp_path.iterdir())) == 1


def test_what_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write_file(tmp_path / "file", "mine")
    write_folder(tmp_path / "folder", "mine")
    for name, write, message in (
        ("pipe", write_file, "is a device, pipe or socket"),
        ("file", write_folder, "is a file, and a folder is to be written there"),
        ("folder", write_file, "is a folder, and a file is to be written there"),
    ):
        with pytest.raises(UserError, match=message):
            write(tmp_path / name, "new")
    assert content(tmp_path / "file") == content(tmp_path / "folder") == {"mine"}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_is_replaced_and_what_it_names_stays(tmp_path: Path) -> None:
    write_folder(tmp_path / "theirs", "theirs")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    write_folder(tmp_path / "link", "new")
    assert content(tmp_path / "theirs") == {"theirs"} and content(tmp_path / "link") == {"new"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", [*STEPS, "mkdir"])
def test_what_the_system_refuses_is_one_line(tmp_path: Path, monkeypatch, step, number) -> None:
    """And the target is what it was."""
    target = tmp_path / "parent" / "päß 日本 (1).json"
    old = step not in ("mkdir", "rename")
    if old:
        write_file(target, "old")

    def refuse(path: object, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), path if isinstance(path, (str, Path)) else None)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, refuse)
        with pytest.raises(ResourceError, match="cannot be (written|used): ") as caught:
            write_file(target, "new")
    assert caught.value.errno == number and "parent" in str(caught.value)
    assert ".posecrafter" not in str(caught.value) and "delete" not in str(caught.value)
    assert content(target) == ({"old"} if old else None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != target]


def test_a_name_of_any_length_and_letters_can_be_written(tmp_path: Path) -> None:
    for name in ("日本語" * 26 + ".json", "it's a=b;$(x) [1].json", "-rf", "a%b.json"):
        write_file(tmp_path / name, "text")
        assert content(tmp_path / name) == {"text"}
    with pytest.raises(ResourceError, match="the name is too long"):
        write_file(tmp_path / ("x" * 256), "text")


def test_a_stop_while_the_temporary_is_removed_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    remove = atomic.shutil.rmtree

    def stopped(path: Path, **options: bool) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        remove(path, **options)

    monkeypatch.setattr(atomic.shutil, "rmtree", stopped)
    with pytest.raises(Stopped), raising_stops(), atomic_path(tmp_path / "new") as temporary:
        temporary.mkdir()
        raise UserError("given up")
    assert list(tmp_path.iterdir()) == []


def test_files_are_for_whom_the_user_shares_with(tmp_path):
    """Some libraries write for the user alone."""
    umask = os.umask(0o022)
    os.umask(umask)
    with atomic_path(tmp_path / "weights") as temporary:
        temporary.touch(mode=0o600)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o666 & ~umask
