"""Text that the command line takes as the shell passes it on: never parsed, so that brackets, commas, quotes and words
such as `true` are only characters.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator


@dataclass(frozen=True)
class RawMark:
    """Mark of such text; `is_name`: of files or folders, of which a sweep or a list may hold several."""

    is_name: bool


def at_home(name: str) -> str:
    """A name with a leading `~/` as shells expand it, which they do not behind `key=`; any other as it is.

    >>> at_home("~x.mp4"), at_home("~"), at_home("./~/x.mp4")
    ('~x.mp4', '~', './~/x.mp4')
    """
    return os.path.expanduser(name) if name.startswith("~/") else name


def _name(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if not given.strip():
        raise ValueError("an empty name would be the working directory: name a file or folder, or leave it out")
    return at_home(given)


# A prompt, or other text.
Raw = Annotated[str, RawMark(is_name=False)]
# A file, a folder or what is called like one, as text or as a path: never empty, which would be the working directory.
FileName = Annotated[str, RawMark(is_name=True), BeforeValidator(_name)]
FilePath = Annotated[Path, RawMark(is_name=True), BeforeValidator(_name)]
