import sys

if sys.argv[:1] == ["-m"]:
    # `python -m src.train` and its like: a command begins here, seconds before its own `main`.
    from src.common.beginning import begin

    begin()
