"""TS 33.328 §7.2.1: a UE offers MSRP over TLS, the core gets plain MSRP, the gateway stands between."""

from __future__ import annotations

from tests.support.parties import PLAIN_ANSWER, PROTECTED_OFFER, answered, bed_with_ue
from tests.support.virtual import run_virtually


def test_the_protected_session() -> None:
    async def story() -> None:
        bed, ue = await bed_with_ue()
        ue.invite()
        invite = await bed.core.expect("INVITE")
        towards_core = invite.body.decode()
        assert "m=message 9 TCP/MSRP *" in towards_core
        assert "c=IN IP4 198.51.100.7" in towards_core
        assert "fingerprint" not in towards_core
        assert "3ge2ae" not in towards_core
        assert "a=x-unknown:stays" in towards_core
        bed.core.send(answered(invite))
        answer = await bed.ue.expect(200)
        towards_ue = answer.body.decode()
        assert "TCP/TLS/MSRP" in towards_ue
        assert "c=IN IP4 203.0.113.7" in towards_ue
        assert "a=setup:passive" in towards_ue
        assert "a=fingerprint:sha-256 00:01:02" in towards_ue
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        assert len(bed.gateway.table.contexts) == 1
        ue.in_dialog("BYE", answer)
        bye = await bed.core.expect("BYE")
        bed.core.send(answered(bye, body=""))
        await bed.ue.expect(200)
        await bed.settle()
        assert not bed.gateway.table.contexts
        assert bed.gateway.asked[-3:] == [("Add", "Add"), ("Modify", "Modify"), ("Subtract",)]
        await bed.close()

    run_virtually(story)
