"""Stories of one registered UE and a far end in the core, message by message, and what they begin and end with.

Calls as ladders of text, at any place, are told with `tests.support.ladder`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from pcscf.sip.message import Request, Response, response_to
from tests.support.flowbed import Bed
from tests.support.parties import (
    PLAIN_ANSWER,
    PLAIN_OFFER,
    PROTECTED_ANSWER,
    PROTECTED_OFFER,
    Ue,
    answered,
    bed_with_ue,
    call_ue,
    with_body,
)
from tests.support.virtual import run_virtually

Tale: TypeAlias = Callable[[Bed, Ue], Awaitable[None]]

OVER = 300.0   # seconds after which nothing of any session is left


def story(tale: Tale, *, mediasec: bool = True, **settings: Any) -> None:
    """Run `tale` with a registered UE; afterwards nothing may be left: no context, no session, no procedure, no transaction.

    mediasec: whether the UE lists the mechanisms that the bed knows.
    """

    async def run() -> None:
        bed, ue = await bed_with_ue(**settings)
        if not mediasec:
            await ue.register(mediasec=False)
        await tale(bed, ue)
        await bed.settle(OVER)
        assert not bed.gateway.table.contexts, bed.story()
        assert not bed.store.sessions(), bed.story()
        assert not bed.calls.invitations
        assert len(bed.layer) == 0
        await bed.close()

    run_virtually(run)


# the UE calls


async def establish(
    bed: Bed, ue: Ue, body: str = PROTECTED_OFFER, back: str = PLAIN_ANSWER, **how: str,
) -> tuple[Request, Response]:
    """A confirmed session: the INVITE as the core got it, the 200 as the UE got it."""
    ue.invite(body, **how)
    invite = await bed.core.expect("INVITE")
    bed.core.send(answered(invite, body=back))
    answer = await bed.ue.expect(200)
    ue.in_dialog("ACK", answer)
    await bed.core.expect("ACK")
    return invite, answer


async def re_offer(
    bed: Bed, ue: Ue, answer: Response, offer: str = PROTECTED_OFFER, back: str = PLAIN_ANSWER,
) -> tuple[Request, Response]:
    """A re-INVITE of the UE that is accepted: as the core got it, and its 200 as the UE got it."""
    ue.in_dialog("INVITE", answer, offer)
    invite = await bed.core.expect("INVITE")
    bed.core.send(answered(invite, body=back))
    again = await bed.ue.expect(200)
    ue.in_dialog("ACK", answer)
    await bed.core.expect("ACK")
    return invite, again


async def hang_up(bed: Bed, ue: Ue, answer: Response) -> None:
    ue.in_dialog("BYE", answer)
    bed.core.send(answered(await bed.core.expect("BYE"), body=""))
    await bed.ue.expect(200)


# the UE is called


async def be_called(bed: Bed, offer: str = PLAIN_OFFER, back: str = PROTECTED_ANSWER) -> tuple[Request, Response]:
    """A confirmed session: the INVITE as the UE got it, the 200 as the core got it."""
    call_ue(bed, offer)
    invite = await bed.ue.expect("INVITE")
    bed.ue.send(ue_answers(invite, back))
    answer = await bed.core.expect(200)
    bed.core.send(core_says("ACK", answer, 1))
    await bed.ue.expect("ACK")
    return invite, answer


def ue_answers(invite: Request, body: str = PROTECTED_ANSWER, status: int = 200) -> Response:
    answer = response_to(invite, status, to_tag="ua")
    answer.copy_lines(invite, "Record-Route")
    answer.add("Contact", "<sip:alice@192.0.2.10:40001;transport=tls>")
    if body:
        answer.set_body(body.encode(), "application/sdp")
    return answer


def core_says(method: str, answer: Response, cseq: int) -> str:
    """A request of the core in the dialog that `answer` confirmed."""
    routes = "\n".join(f"Route: {route}" for route in reversed(answer.values("Record-Route")))
    return with_body(f"""
        {method} {answer.values("Contact")[0].strip("<>")} SIP/2.0
        Via: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bK{method}{cseq}
        {routes}
        From: {answer.get("From")}
        To: {answer.get("To")}
        Call-ID: {answer.call_id}
        CSeq: {cseq} {method}
        Max-Forwards: 70""")
