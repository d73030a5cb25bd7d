"""What is said of something once, however often it is met."""

import functools
import logging


@functools.cache
def say_once(log: logging.Logger, level: int, text: str) -> None:
    """Log a text where this process has not yet: windows, models and readers of one clip each meet it again."""
    log.log(level, "%s", text)
