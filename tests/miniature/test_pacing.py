"""Training that fits the time there is, and rows that stay on the device."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from omegaconf import DictConfig

from src.common.errors import UserError
from src.common.trainer import seconds_of
from src.miniature.common import MovingAverage
from src.miniature.pacing import EVERY, FIRST_STEPS, FinishInTime
from src.miniature.rows import Rows
from src.miniature.training import build_trainer
from src.pretrain import main, settings_of_pretraining


class _Trainer(SimpleNamespace):
    """As much of a trainer as the callback asks for, a step of which takes `seconds`."""

    def __init__(self, max_steps: int) -> None:
        super().__init__(global_step=0, fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(max_steps=max_steps)))
        self.strategy = SimpleNamespace(broadcast=lambda steps: steps)
        self.now = 100.0

    @property
    def max_steps(self) -> int:
        return self.fit_loop.epoch_loop.max_steps

    def run(self, callback: FinishInTime, seconds: Callable[[int], float]) -> None:
        trainer, module, nothing = cast(Trainer, self), cast(LightningModule, None), cast(Any, None)
        callback.on_train_start(trainer, module)
        while self.global_step < self.max_steps:
            self.now += seconds(self.global_step)
            self.global_step += 1
            callback.on_train_batch_end(trainer, module, nothing, nothing, 0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (lambda step: 0.1, 600),
        (lambda step: 2 if step < FIRST_STEPS else 0.1, FIRST_STEPS),  # the time is over before a step is timed
        (lambda step: 0.1 if step < 300 else 0.05, 900),
        (lambda step: 0.001, 5000),
    ],
)
def test_steps_are_as_many_as_there_is_time_for(seconds: Callable[[int], float], expected: int) -> None:
    trainer = _Trainer(5000)
    trainer.run(FinishInTime(60, clock=lambda: trainer.now), seconds)
    assert trainer.global_step == pytest.approx(expected, abs=2 * EVERY)


def test_slow_steps_end_in_time_and_the_pace_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Long before there are enough of them for a good measurement; the first, which compiles, counts for no pace."""
    trainer = _Trainer(5000)
    with caplog.at_level("INFO"):
        trainer.run(FinishInTime(75, clock=lambda: trainer.now), lambda step: 10 if step else 20)
    assert trainer.global_step == 6 and trainer.now <= 100 + 75
    assert caplog.messages == ["finish_in: at 10 s a step, 6 steps in all"]


def test_the_first_of_several_devices_paces_all() -> None:
    told: list[int] = []

    def tell(steps: int) -> int:
        told.append(steps)
        return steps

    first, second = _Trainer(5000), _Trainer(5000)
    first.strategy.broadcast = tell
    first.run(FinishInTime(60, clock=lambda: first.now), lambda step: 0.1)
    heard = iter(told)
    second.strategy.broadcast = lambda steps: next(heard)
    second.run(FinishInTime(60, clock=lambda: second.now), lambda step: 0.15 if step else 3)
    assert second.max_steps == first.max_steps and next(heard, None) is None


def test_time_is_days_hours_minutes_and_seconds() -> None:
    assert seconds_of("finish_in", "01:02:03:04") == 93784
    for wrong in ("60", "00:01", "1h"):
        with pytest.raises(UserError, match="finish_in"):
            seconds_of("finish_in", wrong)


def test_the_option_is_given_as_documented(compose_config: Callable[..., DictConfig]) -> None:
    def paces(*overrides: str) -> list[float]:
        cfg = compose_config("pretrain", "part=base", "trainer=cpu", *overrides)
        trainer = build_trainer(settings_of_pretraining(cfg))
        return [callback.seconds for callback in trainer.callbacks if isinstance(callback, FinishInTime)]  # pyright: ignore[reportAttributeAccessIssue]

    assert paces() == []
    assert paces("finish_in=00:00:05:00") == [300]


def test_a_time_that_is_none_is_refused_before_anyone_is_rendered(call_main: Callable, tmp_path: Path) -> None:
    status, error = call_main(main, "part=base", "trainer=cpu", "finish_in=60", "folder=people")
    assert status == 2 and error == "error: finish_in=60 must be DD:HH:MM:SS, such as 00:02:30:00\n"
    assert not (tmp_path / "people").exists()


def test_rows_are_the_same_from_disk_and_from_the_device() -> None:
    shards = [np.arange(n, n + 12, dtype=np.uint8).reshape(4, 3) for n in (0, 12, 24)]
    rows, index = Rows(shards), np.array([11, 0, 5, 5])
    from_disk = rows.gather(index, torch.device("cpu"))
    assert rows.nbytes == 36 and torch.equal(from_disk, torch.from_numpy(np.concatenate(shards)[index]))
    rows.keep_on(torch.device("cpu"))
    assert torch.equal(rows.gather(index, torch.device("cpu")), from_disk)
    assert copy.deepcopy(rows) is rows


def test_the_average_of_every_eighth_step_forgets_as_fast_as_that_of_every_step() -> None:
    """On a GPU the library's update waits for it."""
    values = {}
    for device, every in (("cpu", 1), ("cuda", 8)):
        average = MovingAverage(0.99)
        average.every = every
        ours, count = torch.zeros(2), 0
        for step in range(4000):
            if average.should_update(step):
                function = average._kwargs["multi_avg_fn"]
                function([ours], [torch.ones(2) * (step >= 3904)], torch.tensor(count))
                count += 1
        values[device] = float(ours[0])
    assert count == 500 and values["cpu"] == pytest.approx(1 - 0.99**96, abs=1e-4)
    assert values["cuda"] == pytest.approx(values["cpu"], abs=1e-4)


def test_counters_are_copied() -> None:
    ours, theirs = torch.zeros(3, dtype=torch.long), torch.arange(3)
    function = MovingAverage(0.9)._kwargs["multi_avg_fn"]
    function([ours], [theirs], torch.tensor(5))
    assert torch.equal(ours, theirs)
