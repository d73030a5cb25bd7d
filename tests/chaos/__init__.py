"""`make chaos`: the long form of `tests/robustness`, with whole commands that are killed, starved and fed rubbish."""
