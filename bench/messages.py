"""Messages as an MSRP call over TLS brings them. Everything in them is made up."""

from __future__ import annotations

FINGERPRINT = ":".join(f"{(37 * octet + 11) % 256:02X}" for octet in range(32))


def crlf(text: str) -> str:
    return "".join(f"{line.strip()}\r\n" for line in text.strip().splitlines())


OFFER = crlf(f"""
    v=0
    o=- 3957201104 3957201104 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=message 9 TCP/TLS/MSRP *
    a=accept-types:message/cpim text/plain application/im-iscomposing+xml
    a=accept-wrapped-types:*
    a=path:msrps://192.0.2.10:9/4f1ac90be2;tcp
    a=msrp-cema
    a=setup:actpass
    a=connection:new
    a=fingerprint:SHA-256 {FINGERPRINT}
    a=3ge2ae:requested
    a=sendrecv
    a=max-size:1048576
    """)
ANSWER = crlf("""
    v=0
    o=- 61188 61188 IN IP4 198.51.100.50
    s=-
    c=IN IP4 198.51.100.50
    t=0 0
    m=message 40100 TCP/MSRP *
    a=accept-types:message/cpim text/plain
    a=path:msrp://198.51.100.50:40100/0d7e93;tcp
    a=msrp-cema
    a=setup:passive
    a=sendrecv
    """)


def with_body(head: str, body: str = "") -> str:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return f"{crlf(head)}{kind}Content-Length: {len(body)}\r\n\r\n{body}"


INVITE = with_body("""
    INVITE sip:bob@ims.example SIP/2.0
    Via: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKi{number};rport
    Max-Forwards: 70
    Route: <sip:203.0.113.1:5061;transport=tls;lr>
    Route: <sip:orig@198.51.100.2:5080;lr>
    From: "Alice" <sip:alice@ims.example>;tag=a{number}
    To: <sip:bob@ims.example>
    Call-ID: {number}.5f2e0c77@192.0.2.10
    CSeq: 1 INVITE
    Contact: <sip:alice@192.0.2.10:40001;transport=tls>;+g.oma.sip-im;+sip.instance="<urn:gsma:imei:35462109-987654-0>"
    Accept-Contact: *;+g.oma.sip-im;require;explicit
    P-Preferred-Identity: <sip:alice@ims.example>
    P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=00101000a0000c01
    Require: sec-agree, mediasec
    Proxy-Require: sec-agree, mediasec
    Security-Verify: msrp-tls;mediasec
    Supported: timer, 100rel, gruu
    Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, MESSAGE, OPTIONS
    User-Agent: handset/4.2 (bench)
    """, OFFER)

IN_DIALOG = with_body("""
    {method} sip:bob@198.51.100.2:5080 SIP/2.0
    Via: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bK{method}{number};rport
    Max-Forwards: 70
    {routes}
    From: "Alice" <sip:alice@ims.example>;tag=a{number}
    To: <sip:bob@ims.example>;tag=far
    Call-ID: {number}.5f2e0c77@192.0.2.10
    CSeq: {cseq} {method}
    User-Agent: handset/4.2 (bench)
    """)

REGISTER = with_body("""
    REGISTER sip:ims.example SIP/2.0
    Via: SIP/2.0/TLS 192.0.2.10:40001;branch=z9hG4bKr{number};rport
    Max-Forwards: 70
    From: <sip:alice@ims.example>;tag=r{number}
    To: <sip:alice@ims.example>
    Call-ID: registration@192.0.2.10
    CSeq: {number} REGISTER
    Contact: <sip:alice@192.0.2.10:40001;transport=tls>;expires=3600;+g.oma.sip-im
    Authorization: Digest username="alice@ims.example", realm="ims.example", uri="sip:ims.example", {credentials}{verify}
    Require: mediasec
    Proxy-Require: mediasec
    Security-Client: msrp-tls;mediasec
    Supported: path, outbound, gruu
    User-Agent: handset/4.2 (bench)
    """)

RESERVE = f"""!/2 [198.51.100.1]:2944
K{{73400}}T=73401{{C=${{A=ip/1/$/${{M{{ST=1{{O{{MO=SR,ipdc/realm="access"}},L{{
v=0
c=IN IP4 $
m=message $ TCP/TLS -
a=setup:passive
a=fingerprint:sha-256 $
}},R{{
v=0
c=IN IP4 192.0.2.10
m=message 9 TCP/TLS -
a=setup:active
a=fingerprint:sha-256 {FINGERPRINT}
}}}}}},E=1{{g/cause,tcpbcc/BNCChange{{Type=Rel}},tlsbsc/BNCChange{{Type=Rel}}}}}},A=ip/1/$/${{M{{ST=1{{O{{MO=IN,ipdc/realm="core"}},L{{
v=0
c=IN IP4 $
m=message $ TCP -
a=setup:active
}}}}}},E=2{{g/cause,tcpbcc/BNCChange{{Type=Rel}}}}}}}}}}
""".encode()

RESERVED = f"""!/2 [198.51.100.7]:2945
P=73401{{C=90210{{A=ip/1/1/17{{M{{ST=1{{L{{
v=0
o=- 0 0 IN IP4 203.0.113.7
s=-
t=0 0
c=IN IP4 203.0.113.7
m=message 30010 TCP/TLS -
a=setup:passive
a=fingerprint:sha-256 {FINGERPRINT}
}}}}}}}},A=ip/1/2/18{{M{{ST=1{{L{{
v=0
o=- 0 0 IN IP4 198.51.100.7
s=-
t=0 0
c=IN IP4 198.51.100.7
m=message 41010 TCP -
a=setup:active
}}}}}}}}}}}}
""".encode()
