"""Whether submissions match their board: posecrafter submit-check leaderboard/<board>/<submission>."""

import logging
from dataclasses import dataclass

from omegaconf import DictConfig

from src.app.entry import entry, settings_of
from src.common.counting import counted
from src.common.errors import UserError
from src.common.typed import FilePath

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckCommand:
    """What `conf/submit_check.yaml` describes: a submission, whose board is the folder above it, or a board."""

    folder: FilePath


@entry("submit_check", CheckCommand, positional=("folder",))
def main(cfg: DictConfig) -> None:
    """Status 0 where everything matches; else status 2, and a line for each submission that does not."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from eval.benchmark.leaderboard import BOARD, SUBMISSION, read_board, read_submission, submissions, untied

    folder = settings_of(CheckCommand, cfg).folder.resolve()
    if not folder.is_dir():
        raise UserError(f"folder={folder} is no folder: name a submission or a board")
    # What lies in a board is a submission, whatever it lacks.
    one = (folder / SUBMISSION).is_file() or ((folder.parent / BOARD).is_file() and not (folder / BOARD).is_file())
    board = read_board(folder.parent if one else folder)
    if loose := untied(board):
        log.warning("%s", loose)
    found, wrong = [folder] if one else submissions(folder), []
    for path in found:
        try:
            submission, result = read_submission(path, board)
        except UserError as error:
            wrong.append(path.name)
            log.error("%s", error)
        else:
            log.info("%s: %s, %s: matches", path.name, submission.method, counted(len(result.clips), "clip"))
    if wrong:
        raise UserError(
            f"of {counted(len(found), 'submission')} {counted(len(wrong), 'does', 'do')} not match {board.benchmark}, "
            f"protocol {board.protocol}: {', '.join(wrong)}"
        )


if __name__ == "__main__":
    main()
