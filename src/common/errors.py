"""The one exception that reaches a user as a single line instead of a traceback."""


class UserError(ValueError):
    """Bad input: the message says what was wrong, what was expected and how to mend it.

    Entry points print it on one line and exit with status 2 (see `src.app.entry`). Anything else that is raised
    is a defect of ours and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
