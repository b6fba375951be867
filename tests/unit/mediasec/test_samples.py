"""Descriptions as they are met in the field, offered and answered both ways under every shipped policy.

Nothing may fail, what the plan does not own must stay octet by octet and in order, and sdp-transform must read what leaves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sdp_transform

from pcscf.config.load import load_rules
from pcscf.config.policy import MediaPolicy
from pcscf.config.resolve import media_policy
from pcscf.mediasec.explain import Explanation, explain
from pcscf.mediasec.mechanisms import BY_MECHANISM
from pcscf.mediasec.model import LIVE, Agreed, Direction, Mode
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted

SHA_1 = ":".join(f"{octet:02X}" for octet in range(0x40, 0x54))
SHA_256 = ":".join(f"{octet:02X}" for octet in range(0x80, 0xA0))


def lines(*text: str, session: tuple[str, ...] = ("c=IN IP4 192.0.2.61", "t=0 0"), end: str = "\r\n") -> bytes:
    return end.join(("v=0", "o=phone 7 1 IN IP4 192.0.2.61", "s=-", *session, *text, "")).encode()


MSRP = ("a=accept-types:message/cpim application/im-iscomposing+xml", "a=accept-wrapped-types:text/plain")
T38 = (
    "a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxFillBitRemoval", "a=T38FaxTranscodingMMR:0", "a=T38FaxTranscodingJBIG",
    "a=T38FaxRateManagement:transferredTCF", "a=T38FaxMaxBuffer:2000", "a=T38FaxMaxDatagram:400",
    "a=T38FaxUdpEC:t38UDPRedundancy",
)
AUDIO = ("m=audio 40000 RTP/AVP 8 101", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")
SAMPLES = {
    # MSRP
    "plain": lines("m=message 7654 TCP/MSRP *", *MSRP, "a=path:msrp://192.0.2.61:7654/jsh;tcp"),
    "rcs, port 9, connection and weak hash": lines(
        "m=message 9 TCP/TLS/MSRP *", *MSRP, "a=path:msrps://192.0.2.61:9/jsh;tcp", "a=setup:active", "a=connection:new",
        f"a=fingerprint:SHA-1 {SHA_1}", "a=sendrecv"),
    "rcs, lower case, cema": lines(
        "m=message 7654 TCP/TLS/MSRP *", *MSRP, "a=path:msrps://192.0.2.61:7654/jsh;tcp", "a=msrp-cema", "a=setup:actpass",
        f"a=fingerprint:sha-256 {SHA_256.lower()}"),
    "asking for the edge": lines(
        "m=message 9 TCP/TLS/MSRP *", *MSRP, "a=path:msrps://192.0.2.61:9/jsh;tcp", "a=msrp-cema", "a=setup:active",
        f"a=fingerprint:SHA-256 {SHA_256}", "a=3ge2ae:requested"),
    "ipv6 answer without t=": lines(
        "m=message 7654 TCP/MSRP *", "a=path:msrp://[2001:db8::61]:7654/jsh;tcp", "a=msrp-cema", "a=setup:passive",
        session=("c=IN IP6 2001:db8::61",)),
    "names for addresses": lines(
        "m=message 7654 TCP/TLS/MSRP *", *MSRP, "a=path:msrps://alice.ims.example:7654/jsh;tcp",
        session=("c=IN IP4 alice.ims.example", "t=0 0")),
    "blanks after the colon, a relay, a websocket": lines(
        "m=message 2855 TCP/MSRP *", "a=accept-types: *", "a=path: msrp://relay.example:2855/x;ws msrp://df7jal23ls0d.invalid:2855/y;ws"),
    "file transfer": lines(
        "m=message 7654 TCP/MSRP *", "i=A picture", "a=sendonly", *MSRP, "a=path:msrp://192.0.2.61:7654/jsh;tcp",
        'a=file-selector:name:"My cool picture.jpg" type:image/jpeg size:4092 hash:sha-1:72:24:5F:E8',
        "a=file-disposition:render", "a=file-transfer-id:Q6LMoGymJdh0IKIgD6wD0jkcfgva4xvE",
        'a=file-date:creation:"Mon, 15 May 2006 15:01:31 +03:00"',
        "a=file-icon:cid:id2@ims.example"),
    "c= where it does not belong": lines(
        "m=message 7654 TCP/TLS/MSRP *", *MSRP, "a=path:msrps://192.0.2.61:7654/jsh;tcp", f"a=fingerprint:SHA-1 {SHA_1}",
        session=("t=0 0", "c=IN IP4 192.0.2.61")),
    "beside audio, c= in one section": lines(
        *AUDIO, "m=message 7654 TCP/MSRP *", "c=IN IP4 192.0.2.62", *MSRP, "a=path:msrp://192.0.2.62:7654/jsh;tcp"),
    "beside audio, c= in each section": lines(
        AUDIO[0], "c=IN IP4 192.0.2.62", *AUDIO[1:], "m=message 7654 TCP/MSRP *", "c=IN IP4 192.0.2.63",
        "a=path:msrp://192.0.2.63:7654/jsh;tcp", session=("t=0 0",)),
    "session keys for audio and messages": lines(
        "m=audio 40000 UDP/TLS/RTP/SAVP 8", "a=rtcp-mux", "m=message 9 TCP/TLS/MSRP *", "a=path:msrps://192.0.2.61:9/jsh;tcp",
        "a=msrp-cema", "a=3ge2ae:requested",
        session=("c=IN IP4 192.0.2.61", "t=0 0", f"a=fingerprint:sha-256 {SHA_256}", "a=setup:actpass")),
    # BFCP
    "without setup and connection": lines("m=application 50000 TCP/BFCP *", "a=floorctrl:c-only"),
    "tls by name": lines(
        "m=application 50000 TCP/TLS/BFCP *", "c=IN IP4 192.0.2.62", "a=floorctrl:c-only c-s", "a=setup:passive",
        "a=confid:4321", "a=userid:1234", "a=floorid:1 m-stream:10", "a=floorid:2 mstrm:11"),
    "tls with certificate": lines(
        "m=application 9 TCP/TLS/BFCP *", "a=setup:active", "a=connection:new", f"a=fingerprint:SHA-1 {SHA_1}",
        "a=floorctrl:s-only"),
    "over udp, no c=": lines(
        "m=application 50000 UDP/BFCP *", "a=floorctrl:c-s", "a=setup:actpass", "a=connection:new", session=("t=0 0",)),
    "audio, video and floors": lines(
        *AUDIO, "m=video 40002 RTP/AVP 99", "a=rtpmap:99 H264/90000", "a=label:12", "m=application 50000 UDP/TLS/BFCP *",
        f"a=fingerprint:SHA-256 {SHA_256}", "a=setup:actpass"),
    # T.38
    "udptl": lines("m=image 4000 udptl t38", *T38),
    "UDPTL, lf alone": lines("m=image 4000 UDPTL t38", *T38, end="\n"),
    "image before audio that is closed": lines("m=image 4000 udptl t38", *T38, "m=audio 0 RTP/AVP 8"),
    "audio that is closed before image": lines("m=audio 0 RTP/AVP 8", "m=image 4000 udptl t38", *T38),
    "audio and image at once": lines(*AUDIO, "m=image 4000 udptl t38", *T38),
    "declined": lines("m=image 0 udptl t38"),
    "dtls, a blank before the hash": lines(
        "m=image 46056 UDP/TLS/UDPTL t38", "a=setup:actpass", f"a=fingerprint: SHA-1 {SHA_1}", *T38),
    "dtls with its association": lines(
        "m=image 46056 UDP/TLS/UDPTL t38", "a=setup:actpass", f"a=fingerprint:SHA-256 {SHA_256}",
        "a=tls-id:abc3de65cddef001be82", "a=3ge2ae:requested", *T38),
    "over tcp": lines("m=image 4000 TCP t38", *T38, "a=setup:active"),
}
AGREEMENTS = (Agreed(), Agreed(frozenset(BY_MECHANISM), frozenset(BY_MECHANISM)))
OWNED = re.compile(
    r"m=|c=|a=(fingerprint|setup|connection|3ge2ae|tls-id|path|msrp-cema|candidate|ice-|remote-cand|crypto|rtcp|[tac]cap|[pa]cfg|c(sup|req))\b",
    re.IGNORECASE)
SWAPPED = {"TCP/TLS/MSRP": "TCP/MSRP", "TCP/TLS/BFCP": "TCP/BFCP", "UDP/TLS/UDPTL": "udptl"}
SWAPPED |= {plain: secure for secure, plain in SWAPPED.items()} | {"UDPTL": "UDP/TLS/UDPTL"}


def policies() -> Iterator[tuple[str, MediaPolicy]]:
    yield "no policy", MediaPolicy()
    for file in sorted(Path("policies").glob("*.yaml")):
        if not file.name.endswith(".test.yaml"):
            for number, rule in enumerate(load_rules(file).policies):
                yield f"{file.name} {number}", media_policy(rule)


POLICIES = dict(policies())


def answered_by(sample: Sdp) -> Sdp:
    """An offer that the sample answers on the other side of the edge: the other transport, where there is one."""
    def swap(match: re.Match[str]) -> str:
        return match[1] + SWAPPED.get(match[2], match[2])

    return parse_sdp_untrusted(re.sub(r"(?m)^(m=\S+ \S+ )(\S+)", swap, sample.to_bytes().decode()).encode())


def untouched(sdp: Sdp) -> list[str]:
    return [line for line in sdp.lines() if not OWNED.match(line)]


def check(explanation: Explanation) -> None:
    received, sent = explanation.received, explanation.sent
    if sent is None:
        return
    modes = {line.mode for line in explanation.plan.lines}
    kept = LIVE | {Mode.UNUSED} if explanation.is_answer else LIVE | {Mode.UNUSED, Mode.DISABLED}
    read = sdp_transform.parse(sent.to_bytes().decode().replace("\r\n", "\n").replace("\n", "\r\n"))
    assert [(each["type"], each["port"], each["protocol"]) for each in read["media"]] == [
        (each.media, each.port, each.proto) for each in sent.media]
    if modes <= kept and len(sent.media) == len(received.media):
        assert untouched(sent) == untouched(received)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_offered_and_answered(sample: bytes, policy: MediaPolicy) -> None:
    received = parse_sdp_untrusted(sample)
    assert received.to_bytes() == sample
    for agreed in AGREEMENTS:
        for direction in Direction:
            check(explain(policy, agreed, direction, received))
            for offer in (received, answered_by(received)):
                check(explain(policy, agreed, direction, offer, received))


def test_the_samples_come_to_something() -> None:
    """Every mode of a line is met: a table of samples that are all refused would prove nothing."""
    met = set()
    for sample in map(parse_sdp_untrusted, SAMPLES.values()):
        for policy in POLICIES.values():
            for agreed in AGREEMENTS:
                for direction in Direction:
                    met |= {line.mode for line in explain(policy, agreed, direction, sample).plan.lines}
                    for offer in (sample, answered_by(sample)):
                        met |= {line.mode for line in explain(policy, agreed, direction, offer, sample).plan.lines}
    assert met == set(Mode)
