"""Videos from YouTube by yt-dlp, kept in a folder; what is gone is remembered."""

import importlib
import logging
import re
from pathlib import Path
from types import ModuleType

from src.common.atomic import atomic_path
from src.common.errors import UserError
from src.common.reading import MEBIBYTE, read_text, safe_name
from src.data.datasets.base import Unavailable

log = logging.getLogger(__name__)
# It logs every retry and then raises what it logged.
_yt_dlp_log = log.getChild("yt_dlp")
_yt_dlp_log.setLevel(logging.CRITICAL)

FORMAT = "bestvideo[ext=mp4][vcodec^=avc1]/bestvideo[ext=mp4]/best[ext=mp4]/best"
# What YouTube says of a video that will not come back, unlike a login, a rate limit or a proxy in between.
_GONE = re.compile(
    r"video (is )?(unavailable|not available|no longer available|does not exist)|private video|"
    r"(has been|was) (removed|deleted|terminated)|account .*(terminated|closed)|copyright|"
    r"not available in your country",
    re.IGNORECASE,
)


class YouTube:
    """Downloads videos without sound into a folder, each once.

    Args:
        folder: of `<id>.mp4`, and of `<id>.gone.txt` with the reason for each video that is gone.
        retry: ask again for those that were gone.
    """

    def __init__(self, folder: Path, *, retry: bool) -> None:
        self.folder, self.retry = folder, retry
        self._unreachable: str | None = None

    def video(self, video_id: str) -> Path:
        """The video's file.

        Raises:
            Unavailable: it is gone, now or when it was asked for before.
            UserError: it cannot be had now: yt-dlp is not installed, no network, or YouTube refused.
        """
        safe_name(video_id, "a video's id")
        path, gone = self.folder / f"{video_id}.mp4", self.folder / f"{video_id}.gone.txt"
        if path.is_file():
            return path
        if gone.is_file() and not self.retry:
            raise Unavailable(
                f"{read_text(gone, max_bytes=MEBIBYTE).strip()} (as was said before; dataset.retry=true asks again)"
            )
        if self._unreachable is not None:
            raise UserError(self._unreachable)
        try:
            self._download(video_id, path)
        except Unavailable as error:
            with atomic_path(gone) as temporary:
                temporary.write_text(f"{error}\n", "utf-8")
            raise
        gone.unlink(missing_ok=True)
        return path

    def _download(self, video_id: str, path: Path) -> None:
        yt_dlp = _yt_dlp()
        log.info("downloading the video %s", video_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_path(path) as temporary:
                # yt-dlp expands a percent sign in a file name.
                target = str(temporary).replace("%", "%%")
                options = {"format": FORMAT, "outtmpl": target, "logger": _yt_dlp_log, "noprogress": True}
                with yt_dlp.YoutubeDL(options) as downloader:
                    downloader.download([f"https://www.youtube.com/watch?v={video_id}"])
        except yt_dlp.utils.DownloadError as error:
            cause = error.exc_info[1] if error.exc_info else None
            reason = re.sub(r"\s+", " ", str(error)).removeprefix("ERROR: ")
            if isinstance(cause, yt_dlp.networking.exceptions.TransportError):
                self._unreachable = (
                    f"YouTube cannot be reached ({cause}): run the command again where there is a network, put the "
                    f"videos into {self.folder} as <id>.mp4, or give clips that are cut already: dataset.clips=<folder>"
                )
                raise UserError(self._unreachable) from error
            if (
                isinstance(cause, yt_dlp.utils.ExtractorError)
                and getattr(cause, "expected", False)
                and _GONE.search(reason)
            ):
                raise Unavailable(reason) from error
            raise UserError(f"yt-dlp could not fetch {video_id}: {reason}") from error


def _yt_dlp() -> ModuleType:
    try:
        importlib.import_module("yt_dlp.networking.exceptions")
        return importlib.import_module("yt_dlp")
    except ImportError as error:
        raise UserError(
            f"downloading needs the package yt-dlp ({error}): pip install '.[ted]'; or give clips that are cut "
            "already: dataset.clips=<folder>"
        ) from error
