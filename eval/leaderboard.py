"""The page of a board's submissions: posecrafter leaderboard leaderboard/<board>."""

import logging
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from eval.reporting.settings import PageSettings
from src.app.entry import entry, settings_of
from src.common.counting import counted
from src.common.errors import UserError
from src.common.typed import FilePath
from src.common.writers import refuse_links

log = logging.getLogger(__name__)
PAGE = ".page"


@dataclass(frozen=True, kw_only=True)
class LeaderboardCommand:
    """What `conf/leaderboard.yaml` describes."""

    folder: FilePath
    output: FilePath | None
    start_from: FilePath | None


@entry("leaderboard", LeaderboardCommand, positional=("folder",))
def main(cfg: DictConfig) -> None:
    """Begin a board from a result, or write its page: of what matches; status 2 where something does not."""
    # Seconds of imports that `--help` and a misspelt setting need not wait for.
    from eval.benchmark.leaderboard import new_board, read_board, read_submission, submissions, untied
    from eval.reporting.page import write_report
    from eval.reporting.tables import build_tables

    settings = settings_of(LeaderboardCommand, cfg)
    if settings.start_from is not None:
        board = new_board(settings.folder, settings.start_from)
        log.info("%s: %s, protocol %s", settings.folder, counted(len(board.clips), "clip"), board.protocol)
        if loose := untied(board):
            log.warning("%s", loose)
        return
    board = read_board(settings.folder)
    found, read, wrong = submissions(settings.folder), [], []
    for path in found:
        try:
            read.append(read_submission(path, board))
        except UserError as error:
            # Where the board lies on this machine is nothing for its page.
            wrong.append(str(error).replace(f"{settings.folder}/", ""))
    told = f"of {counted(len(found), 'submission')} {counted(len(wrong), 'does', 'do')} not match"
    if not read:
        raise UserError(f"{told}, so that there is no page: {' | '.join(wrong)}")
    (table,) = build_tables([result for _, result in read], published={})
    made = tuple(f"{one.method}: {', '.join(one.authors)}, {one.url} ({one.hardware})" for one, _ in read)
    if (output := settings.output) is None:
        # A board may have come from anyone.
        refuse_links(settings.folder, [PAGE], instead="say output=<folder>")
        output = settings.folder / PAGE
    refused = tuple(f"Not in the table: {why}." for why in wrong)
    doubts = [f"{loose}."] if (loose := untied(board)) else []
    write_report([replace(table, notes=(*refused, *doubts, *table.notes, *made))], output, PageSettings(num_videos=0))
    if wrong:
        raise UserError(f"{told}, and the page is of the others: {' | '.join(wrong)}")


if __name__ == "__main__":
    main()
