"""JSON files, whole or absent, and names in the order that people count in."""

import json
import logging
import os
import re
import string
from pathlib import Path
from typing import Any

from src.common.atomic import atomic_path
from src.common.errors import DamagedFile
from src.common.reading import read_json

log = logging.getLogger(__name__)


def read_record(path: str | Path) -> dict[str, Any] | None:
    """A mapping that `write_json` wrote; None where there is none, or a damaged one, with a warning.

    For what is only looked at to save work: what it would say is found out anew.

    Raises:
        UserError: the file is there and cannot be read, or is no regular file.
    """
    if not os.path.lexists(path):
        return None
    try:
        value = read_json(path)
    except DamagedFile as error:
        log.warning("%s: passed over", error)
        return None
    if not isinstance(value, dict):
        log.warning("%s holds no record: passed over", path)
        return None
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key of file names that counts numbers as numbers.

    >>> sorted(["10.png", "2.png"], key=natural_key)
    ['2.png', '10.png']
    """
    parts = [part for part in re.split(r"([0-9]+)", name.lower()) if part]
    return [(0, int(part)) if part[0] in string.digits else (1, part) for part in parts]
