"""What a command sets before it imports anything large."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

BEGIN = (
    "import os, sys; sys.argv = ['-m']; import {package}; "
    "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
)


@pytest.mark.parametrize(
    ("package", "own", "expected"),
    [
        ("src", {}, "20000 None False"),
        ("eval", {}, "20000 None False"),
        ("src", {"GOMP_SPINCOUNT": "7"}, "7 None False"),
        ("src", {"OMP_WAIT_POLICY": "active"}, "None active False"),
    ],
)
def test_threads_that_wait_sleep_soon_unless_the_user_says_how(package, own, expected):
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", BEGIN.format(package=package)]
    done = subprocess.run(command, cwd=ROOT, env=environment | own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_user_error_with_closed_streams_has_its_status(closed):
    """And what is opened afterwards does not get the number of standard error, which libraries write to."""
    program = "import os; from src.app.console import main\ntry: main()\nfinally: assert os.open('/', 0) > 2"
    for words, status in (("--help", 0), ("nope", 2), ("$(printf 'nope\\377')", 2)):
        command = f'exec "{sys.executable}" -c "{program}" {words} {closed}'
        assert subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == status


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_outlasts_who_reads_it(stream):
    """`| head -1` has seen enough after a line; the work goes on, and its status is its own."""
    told = f"print('text' * 9999, file=sys.{stream}, flush=True); "
    program = f"import sys; sys.argv = ['-m']; import src; {told * 2} sys.exit(3)"
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    pipes = {stream: writer, other: subprocess.PIPE}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, **pipes)
    os.close(writer)
    assert done.returncode == 3 and not getattr(done, other)


@pytest.mark.parametrize("unbuffered", [{"PYTHONUNBUFFERED": "1"}, {}])
def test_an_unbuffered_command_tells_at_once(unbuffered):
    """A log that is followed, of a program that is then killed, has its last line."""
    program = "import os, sys; sys.argv = ['-m']; import src; print('out'); sys.stderr.write('err'); os._exit(0)"
    command = [sys.executable, *([] if unbuffered else ["-u"]), "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | unbuffered, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err")
