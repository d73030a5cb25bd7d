"""What results are known by."""

import subprocess
from importlib.metadata import PackageNotFoundError

from src.runs import provenance
from src.runs.provenance import environment, git_revision


def test_versions_and_the_git_revision_are_there():
    assert {"python", "posecrafter", "torch", "diffusers"} <= set(environment())


def test_a_clone_that_nobody_installed_has_no_version(monkeypatch):
    """Hours of work end in its record."""

    def nothing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("src.common.system.version", nothing)
    assert environment()["posecrafter"] is None


def test_the_commit_of_a_project_that_holds_the_package_is_not_ours(tmp_path, monkeypatch):
    """As of one with a `.venv` in it, which git is told to pass over."""
    package = tmp_path / ".venv/src/runs"
    package.mkdir(parents=True)
    (package / "provenance.py").touch()
    (tmp_path / ".gitignore").write_text(".venv")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init",), ("add", ".gitignore"), (*who, "commit", "--quiet", "-m", "theirs")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    monkeypatch.setattr(provenance, "PACKAGE_ROOT", tmp_path / ".venv")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert git_revision.__wrapped__() is None


def test_the_git_revision_is_a_commit():
    revision = git_revision()
    assert revision is None or (len(revision["commit"]) == 40 and revision["modified"] in (True, False))
