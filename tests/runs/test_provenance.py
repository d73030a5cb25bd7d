"""What results are known by."""

from src.runs.provenance import environment, git_revision


def test_versions_and_the_git_revision_are_there():
    assert {"python", "posecrafter", "torch", "diffusers"} <= set(environment())


def test_the_git_revision_is_a_commit():
    revision = git_revision()
    assert revision is None or (len(revision["commit"]) == 40 and revision["modified"] in (True, False))
