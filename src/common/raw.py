"""Text that the command line takes as the shell passes it on: never parsed, so that brackets, commas, quotes and words
such as `true` are only characters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator

T = TypeVar("T")


@dataclass(frozen=True)
class RawMark:
    """Mark of such text; `is_name`: of files or folders, of which a sweep or a list may hold several."""

    is_name: bool


def _not_empty(text: T) -> T:
    if isinstance(text, str) and not text.strip():
        raise ValueError("an empty name would be the working directory: name a file or folder, or leave it out")
    return text


# A prompt, or other text.
Raw = Annotated[str, RawMark(is_name=False)]
# A file, a folder or what is called like one, as text or as a path: never empty, which would be the working directory.
FileName = Annotated[str, RawMark(is_name=True), BeforeValidator(_not_empty)]
FilePath = Annotated[Path, RawMark(is_name=True), BeforeValidator(_not_empty)]
