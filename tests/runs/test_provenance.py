"""What results say of where they come from."""

from src.runs.provenance import git_revision


def test_the_git_revision_is_a_commit():
    revision = git_revision()
    assert revision is None or (len(revision["commit"]) == 40 and revision["modified"] in (True, False))
