from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pcscf.runtime.wheel import Wheel
from tests.support.virtual import run_virtually


@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0, 1.5, 32.0, 600.0])
@pytest.mark.parametrize("begin", [0.0, 0.999, 7.25])
def test_a_deadline_comes_within_a_second_of_its_time(begin: float, delay: float) -> None:
    came: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel()
        wheel.start()
        await asyncio.sleep(begin)
        start = loop.time()
        wheel.later(delay, lambda: came.append(loop.time() - start))
        await asyncio.sleep(delay + 5)
        wheel.stop()

    run_virtually(story)
    (waited,) = came
    assert delay <= waited <= delay + 1.001


def test_deadlines_come_in_the_order_of_their_times() -> None:
    came: list[str] = []

    async def story() -> None:
        wheel = Wheel()
        wheel.start()
        for delay, name in ((5.0, "third"), (1.0, "first"), (3.0, "second"), (1.0, "with the first")):
            wheel.later(delay, lambda name=name: came.append(name))
        await asyncio.sleep(10)
        wheel.stop()

    run_virtually(story)
    assert came == ["first", "with the first", "second", "third"]


def test_a_deadline_may_set_another() -> None:
    came: list[float] = []

    async def story() -> None:
        loop, wheel = asyncio.get_running_loop(), Wheel()
        wheel.start()

        def again() -> None:
            came.append(loop.time())
            if len(came) < 4:
                wheel.later(0.0, again)

        wheel.later(0.0, again)
        await asyncio.sleep(10)
        wheel.stop()

    run_virtually(story)
    assert [round(each) for each in came] == [1, 2, 3, 4]


def test_what_one_deadline_raises_is_reported_and_stops_no_other() -> None:
    came: list[str] = []
    reported: list[Any] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
        wheel = Wheel()
        wheel.start()

        def fail() -> None:
            raise RuntimeError("unforeseen")

        wheel.later(1.0, fail)
        wheel.later(1.0, lambda: came.append("same second"))
        wheel.later(2.0, lambda: came.append("next second"))
        await asyncio.sleep(5)
        wheel.stop()

    run_virtually(story)
    assert came == ["same second", "next second"]
    assert [str(each) for each in reported] == ["unforeseen"]


def test_a_stopped_wheel_calls_nobody() -> None:
    came: list[str] = []

    async def story() -> None:
        wheel = Wheel()
        wheel.start()
        wheel.later(1.0, lambda: came.append("late"))
        wheel.stop()
        wheel.stop()
        await asyncio.sleep(5)

    run_virtually(story)
    assert came == []


def test_a_loop_that_was_held_up_misses_no_deadline() -> None:
    came: list[str] = []

    async def story() -> None:
        loop, wheel = asyncio.get_running_loop(), Wheel()
        wheel.start()
        for delay in range(1, 20):
            wheel.later(float(delay), lambda: came.append("due"))
        loop._jump.clock += 30.0   # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        wheel.stop()

    run_virtually(story)
    assert len(came) == 19
