"""sdp-transform reads every description before and after our rewriting: what the plan does not own is the same for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
import sdp_transform
from hypothesis import example, given
from hypothesis import strategies as st

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.mediasec.datagrams import is_rtp
from pcscf.mediasec.explain import Explanation, explain
from pcscf.mediasec.model import LIVE, Agreed, Direction, LinePlan, Mode
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted

PRINT = ":".join(f"{octet:02X}" for octet in range(32))
MECHANISMS = frozenset({"msrp-tls", "bfcp-tls"})

SESSION = (
    "i=Conference of the day", "u=http://ims.example/session", "e=alice@ims.example", "p=+49 30 1234567", "b=AS:4000",
    "b=TIAS:64000", "a=tool:phone 7.1", "a=group:BUNDLE 0 1", "a=group:LS 0 1", "a=msid-semantic: WMS lgsCFqt9kN2fVKw5wg3N",
    "a=ice-lite", "a=extmap-allow-mixed", "a=sendrecv", "a=X-nat:0", "a=rtcp-rsize", f"a=fingerprint:sha-256 {PRINT}",
    "a=setup:actpass", "a=3ge2ae:requested",
)
TIMING = ("t=0 0", "t=2873397496 2873404696\r\nr=604800 3600 0 90000")

AUDIO = (
    "a=rtpmap:96 AMR-WB/16000/1", "a=fmtp:96 mode-change-capability=2;max-red=220", "a=rtpmap:97 telephone-event/16000",
    "a=fmtp:97 0-15", "a=ptime:20", "a=maxptime:240", "b=AS:42", "b=RS:0", "b=RR:2000", "a=curr:qos local none",
    "a=des:qos mandatory local sendrecv", "a=rtcp:53020 IN IP4 192.0.2.61", "a=rtcp-mux", "a=mid:007", "a=recvonly",
    "a=ssrc:2566107569 cname:t9YU8M1UxTF8Y1A1", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "a=candidate:1 1 UDP 2130706431 192.0.2.61 8998 typ host", "a=ice-ufrag:F7gI", "a=ice-pwd:x9cml/YzichV2+XlhiMu8g",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32", "a=silenceSupp:off - - - -",
    "a=label:1",
)
VIDEO = (
    "a=rtpmap:99 H264/90000", "a=fmtp:99 profile-level-id=42C01F;packetization-mode=1", "a=rtcp-fb:99 nack pli",
    "a=framerate:29.97", "a=imageattr:99 send [x=330,y=250] recv *", "a=content:slides", "a=rid:1 send max-width=1280",
    "a=simulcast:send 1", "a=rtcp-fb:* ccm fir", "a=inactive",
)
MSRP = (
    "a=accept-types:message/cpim text/plain application/im-iscomposing+xml", "a=accept-wrapped-types:*", "a=max-size:9000",
    "a=file-selector:name:\"Photo 1.jpg\" type:image/jpeg size:4092", "a=file-transfer-id:vBnG916bdberum2fF", "a=sendonly",
    "a=file-disposition:render", "a=chatroom:nickname private-messages", "a=setup:active", "a=msrp-cema", "a=3ge2ae:requested",
    f"a=fingerprint:sha-256 {PRINT}", "b=AS:20", "i=A picture", "a=label:chat", "a=acap:1 key-mgmt:mikey AQAFgM0X",
    "a=tcap:1 TCP/TLS/MSRP", "a=connection:new", "a=mid:chat",
)
BFCP = (
    "a=floorctrl:c-only", "a=confid:4321", "a=userid:1234", "a=floorid:1 mstrm:10", "a=setup:passive", "a=connection:new",
    f"a=fingerprint:SHA-256 {PRINT}", "a=3ge2ae:requested", "a=bfcpver:1",
)
FAX = (
    "a=T38FaxVersion:0", "a=T38MaxBitRate:14400", "a=T38FaxRateManagement:transferredTCF", "a=T38FaxUdpEC:t38UDPRedundancy",
    "a=T38FaxMaxDatagram:1400",
)
KINDS = (
    ("m=audio 49170 RTP/AVP 96 97", AUDIO), ("m=audio 49170 UDP/TLS/RTP/SAVPF 96 97", AUDIO), ("m=audio 0 RTP/AVP 96", AUDIO),
    ("m=video 51372/2 RTP/AVPF 99", VIDEO), ("m=message 7654 TCP/TLS/MSRP *", MSRP), ("m=message 2855 TCP/MSRP *", MSRP),
    ("m=application 50002 TCP/TLS/BFCP *", BFCP), ("m=application 50002 TCP/BFCP *", BFCP), ("m=image 6100 udptl t38", FAX),
)


@st.composite
def sections(draw: st.DrawFn) -> list[str]:
    head, lines = draw(st.sampled_from(KINDS))
    chosen = draw(st.lists(st.sampled_from(lines), unique=True, max_size=len(lines)))
    connection = draw(st.sampled_from([[], ["c=IN IP4 192.0.2.62"], ["c=IN IP6 2001:db8::62"]]))
    path = [f"a=path:msrp{'s' if 'TLS' in head else ''}://192.0.2.61:7654/jshA7weztas;tcp"] if "MSRP" in head else []
    return [head, *sorted([*chosen, *connection], key=lambda line: "icba".index(line[0])), *path]   # RFC 8866 §5


@st.composite
def descriptions(draw: st.DrawFn) -> Sdp:
    chosen = draw(st.lists(st.sampled_from(SESSION), unique=True, max_size=8))
    before = [line for kind in "iuep" for line in chosen if line[0] == kind]
    bandwidth = [line for line in chosen if line[0] == "b"]
    attributes = [line for line in chosen if line[0] == "a"]
    origin = f"o=alice {draw(st.integers(0, 2**62))} {draw(st.integers(0, 9999))} IN IP4 host.example"
    timing = draw(st.sampled_from(TIMING))
    lines = ["v=0", origin, "s=-", *before, "c=IN IP4 192.0.2.61", *bandwidth, timing, *attributes]
    for section in draw(st.lists(sections(), min_size=1, max_size=4)):
        lines += section
    return parse_sdp_untrusted("\r\n".join((*lines, "")).encode())


KNOBS = st.builds(
    MediumPolicy, sessmatch=st.booleans(), aware=st.booleans(), terminate_unrequested=st.booleans(),
    core=st.sampled_from(["plain", "tls"]),
)
POLICIES = st.builds(MediaPolicy, KNOBS, KNOBS, KNOBS)

ICE = {"candidates", "remoteCandidates", "iceUfrag", "icePwd", "iceOptions", "endOfCandidates"}
PROTECTION = {"fingerprint", "setup", "tls-id"}
CAPABILITIES = {"tcap", "acap", "pcfg", "acfg", "csup", "creq"}


def owned(line: LinePlan, *, pushed: bool) -> set[str]:
    """What the plan may write or take away in one section, as sdp-transform names it; an unknown attribute by its own name.

    pushed: the session says something about protection that the plan moves into the sections.
    """
    names = {"3ge2ae"} | (PROTECTION if pushed else set())
    ours = line.medium is not None
    if line.gateway:
        names |= {"port", "connection", "rtcp"} | ICE
        if line.core is not None and is_rtp(line.core) and not line.core.rtcp_mux:
            names |= {"rtcpMux"}   # an answer that agrees to what nobody offered
        if line.mapped:
            names |= {"protocol", "crypto", "connectionType"} | PROTECTION | CAPABILITIES
        if line.mode is Mode.PLAIN and ours:
            names |= PROTECTION
        if line.path_mode in {"sessmatch", "aware"}:
            names |= {"path", "msrp-cema"}
        if line.path_mode == "aware":
            names |= CAPABILITIES
    elif line.mode not in LIVE and (ours or line.mode is Mode.RELEASED):
        names |= {"port", "protocol"} | (PROTECTION if ours else set())
    elif ours and line.mode is Mode.PLAIN:
        names |= PROTECTION
    return names


def rest(parsed: dict[str, Any], names: Iterable[str]) -> str:
    """All that is not one of `names`, to be compared: sdp-transform gives NaN for what is no number, which equals nothing."""
    taken = set(names)
    kept = {key: value for key, value in parsed.items() if key not in {*taken, "media", "invalid"}}
    kept["invalid"] = [each for each in parsed.get("invalid", []) if each["value"].partition(":")[0].lower() not in taken]
    return json.dumps(kept, sort_keys=True)


def parsed(sdp: Sdp) -> dict[str, Any]:
    read: dict[str, Any] = sdp_transform.parse(sdp.to_bytes().decode("latin-1"))
    return read


def agree(explanation: Explanation, source: Sdp) -> None:
    """sdp-transform sees the same in both but for what the plan owns."""
    assert explanation.sent is not None
    before, after = parsed(source), parsed(explanation.sent)
    lines = explanation.plan.lines
    pushed = any(name in before for name in PROTECTION)
    session = {"3ge2ae"} | (PROTECTION if pushed else set()) | ({"connection"} if any(line.gateway for line in lines) else set())
    assert rest(after, session) == rest(before, session)
    assert len(after["media"]) == len(lines)
    for line, old, new in zip(lines, before["media"], after["media"], strict=False):
        names = owned(line, pushed=pushed)
        # An answer of another kind, or one that we do not take: the offered line stands there, closed. sdp-transform cannot
        # read m=video 51372/2.
        not_taken = new.get("type") != old.get("type") or (explanation.is_answer and old.get("port") != 0)
        if line.mode not in LIVE and new.get("port") == 0 and not_taken:
            continue
        assert rest(new, names) == rest(old, names), (line.mode, line.rule)


CHAT = parse_sdp_untrusted("\r\n".join((
    "v=0", "o=alice 2890844526 1 IN IP4 host.example", "s=-", "c=IN IP4 192.0.2.61", "t=0 0", "a=tool:phone 7.1",
    "m=audio 49170 RTP/AVP 96 97", *AUDIO, "m=message 7654 TCP/TLS/MSRP *", "a=path:msrps://192.0.2.61:7654/s;tcp", *MSRP, "",
)).encode())


@given(POLICIES, st.frozensets(st.sampled_from(sorted(MECHANISMS))), st.sampled_from(Direction), descriptions())
@example(MediaPolicy(), MECHANISMS, Direction.OFFER_FROM_UE, CHAT)
@pytest.mark.interop("sdp-transform", "offers before and after rewriting: every field that the plan does not own is the same")
def test_offers(policy: MediaPolicy, agreed: frozenset[str], direction: Direction, offer: Sdp) -> None:
    explanation = explain(policy, Agreed(agreed, agreed), direction, offer)
    if explanation.sent is not None:
        agree(explanation, offer)


@given(POLICIES, st.frozensets(st.sampled_from(sorted(MECHANISMS))), st.sampled_from(Direction), descriptions(), st.data())
@pytest.mark.interop("sdp-transform", "answers before and after rewriting: every field that the plan does not own is the same")
def test_answers(policy: MediaPolicy, agreed: frozenset[str], direction: Direction, offer: Sdp, data: st.DataObject) -> None:
    answer = data.draw(st.one_of(descriptions(), st.just(_swapped(offer)), st.just(offer)))
    explanation = explain(policy, Agreed(agreed, agreed), direction, offer, answer)
    if explanation.sent is not None and explanation.is_answer:
        agree(explanation, answer)


def _swapped(offer: Sdp) -> Sdp:
    """An answer that speaks the other side's transport, as a protected session wants it."""
    swapped = {b"TCP/TLS/MSRP": b"TCP/MSRP", b"TCP/TLS/BFCP": b"TCP/BFCP"}
    swapped |= {plain: secure for secure, plain in swapped.items()}
    text = re.sub(rb"TCP(?:/TLS)?/(?:MSRP|BFCP)", lambda found: swapped[found[0]], offer.to_bytes())
    return parse_sdp_untrusted(text.replace(b"setup:active", b"setup:passive").replace(b"actpass", b"active"))


def test_the_comparison_does_notice() -> None:
    """A rewriter that lost one attribute would be found out."""
    explanation = explain(MediaPolicy(), Agreed(MECHANISMS, MECHANISMS), Direction.OFFER_FROM_UE, CHAT)
    assert explanation.sent is not None
    agree(explanation, CHAT)
    for lost in (b"a=max-size:9000\r\n", b"a=ptime:20\r\n", b"b=AS:20\r\n", b"a=file-transfer-id:vBnG916bdberum2fF\r\n"):
        changed = parse_sdp_untrusted(CHAT.to_bytes().replace(lost, b""))
        with pytest.raises(AssertionError):
            agree(explanation, changed)
