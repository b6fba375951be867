"""A story from its beginning to its end, and a look at what it left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from structlog.testing import capture_logs

from tests.support.ends import left_open
from tests.support.flowbed import Bed
from tests.support.plays import PLACES, Play
from tests.support.virtual import run_virtually

OVER = 100.0   # seconds after which nothing of a session is left: repeated releases, tombstones, transactions

Story = Callable[[Play], Awaitable[None]]


async def left_over(play: Play) -> list[str]:
    """What a session that should be over has left, at the gateway, here and at its ends."""
    bed = play.bed
    await bed.settle(OVER)
    left = [f"context {context} at {mid}" for mid, context in await bed.gateways.audit()]
    left += [f"a session of {session.call_id}, {session.state.value}" for session in bed.store.sessions()]
    left += [f"the invitation {key}" for key in bed.calls.invitations]
    left += [f"{len(bed.layer)} transactions"] if len(bed.layer) else []
    return left + [f"{end.user}: {what}" for end in play.ends if end not in play.gone for what in left_open(end.peer)]


def run(story: Story, place: str, **settings: Any) -> None:
    """Run `story` at `place`, and look at what it left."""

    async def tale() -> None:
        bed = Bed(**settings)
        await bed.start()
        play = await PLACES[place](bed)
        await story(play)
        left = await left_over(play)
        await bed.close()
        assert not left, "\n".join([*left, "", bed.story()])

    with capture_logs() as logs:
        run_virtually(tale)
    assert [each for each in logs if each["log_level"] == "error"] == []
