"""One message of every kind that the two ends of Iq send, by the name of its procedure (TS 23.334 §8)."""

from __future__ import annotations

from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    ContextProperties,
    Descriptor,
    ErrorDescriptor,
    Event,
    Events,
    LocalControl,
    Media,
    Message,
    Mode,
    ObservedEvent,
    ObservedEvents,
    Packages,
    Property,
    Services,
    Signals,
    Statistics,
    Stream,
    Transaction,
    TransactionAck,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    Value,
)

CONTROLLER = "[192.0.2.1]:2944"
GATEWAY = "[192.0.2.2]:2944"
FINGERPRINT = ":".join(f"{octet:02X}" for octet in range(0x21, 0x41))
NULL, CHOOSE, ALL = ContextId.NULL, ContextId.CHOOSE, ContextId.ALL


def sdp(address: str, port: str, transport: str, *attributes: str, media: str = "message") -> str:
    family = "IP6" if ":" in address else "IP4"
    lines = ["v=0", f"c=IN {family} {address}", f"m={media} {port} {transport} -", *attributes]
    return "".join(line + "\r\n" for line in lines)


def parameter(name: str, value: str, *, quoted: bool = False) -> Property:
    return Property(name, Value((value,), quoted=quoted))


def command(name: CommandName, termination: str, *descriptors: Descriptor) -> Command:
    return Command(name, (termination,), descriptors)


def request(tid: int, context: int, *commands: Command, mid: str = CONTROLLER, version: int = 2) -> Message:
    return Message(mid, (TransactionRequest(tid, (Action(context, commands),)),), version=version)


def reply(tid: int, context: int, *commands: Command, mid: str = GATEWAY, version: int = 2) -> Message:
    return Message(mid, (TransactionReply(tid, (Action(context, commands),)),), version=version)


def message(*transactions: Transaction, mid: str = GATEWAY) -> Message:
    return Message(mid, transactions)


def _add(realm: str, local: str, remote: str | None, *more: Descriptor, mode: Mode = Mode.SEND_RECEIVE) -> Command:
    control = LocalControl(mode, properties=(parameter("ipdc/realm", realm, quoted=True), parameter("ds/dscp", "0x0A")))
    return command(CommandName.ADD, "ip/1/$/$", Media((Stream(1, control, local, remote),)), *more)


def _watch(number: int, *events: str) -> Events:
    released = (parameter("Type", "Rel"),)
    hanging = Event("hangterm/thb", (parameter("timerx", "3600"),))
    return Events(number, (Event("g/cause"), hanging, *(Event(name, released) for name in events)))


_ACCESS_LOCAL = sdp("$", "$", "TCP/TLS", "a=setup:passive", "a=fingerprint:sha-256 $")
_ACCESS_REMOTE = sdp("198.51.100.7", "7654", "TCP/TLS", "a=setup:active", f"a=fingerprint:sha-256 {FINGERPRINT}")
_CORE_LOCAL = sdp("$", "$", "TCP", "a=setup:active")
_ESTABLISH = (parameter("Stream", "1"),)
_RESTART = Services(method="Restart", reason="901 Cold Boot", profile="iqprofile/1", version=2, timestamp="20300102T03040506")

MESSAGES: dict[str, Message] = {
    # association
    "register": request(1, NULL, command(CommandName.SERVICE_CHANGE, "ROOT", _RESTART), mid=GATEWAY, version=1),
    "register reply": reply(
        1,
        NULL,
        command(CommandName.SERVICE_CHANGE, "ROOT", Services(version=2, profile="iqprofile/1", timestamp="20300102T03040507")),
        mid=CONTROLLER,
        version=1,
    ),
    "register refused": reply(
        1, NULL, command(CommandName.SERVICE_CHANGE, "ROOT", Services(mgc_id_to_try="[2001:db8::3]:2944")), mid=CONTROLLER
    ),
    "graceful": request(
        2,
        NULL,
        command(CommandName.SERVICE_CHANGE, "ROOT", Services(method="Graceful", reason="905 Out of service", delay=30)),
        mid=GATEWAY,
    ),
    "group forced": request(
        3, ALL, command(CommandName.SERVICE_CHANGE, "ip/1/1/*", Services(method="Forced", reason="904 Malfunction")), mid=GATEWAY
    ),
    "hand-off": request(
        4,
        NULL,
        command(
            CommandName.SERVICE_CHANGE,
            "ROOT",
            Services(method="HandOff", reason="903 MGC Directed Change", mgc_id_to_try="<agw-2.example.net>:2944"),
        ),
    ),
    "watch the controller": request(
        5,
        NULL,
        command(
            CommandName.MODIFY,
            "ROOT",
            Media(
                termination_state=(
                    parameter("root/MGProvisionalResponseTimerValue", "500"),
                    parameter("root/MGOriginatedPendingLimit", "5"),
                )
            ),
            Events(1, (Event("it/ito", (parameter("mit", "3000"),)), Event("ocp/mg_overload"))),
        ),
    ),
    "heartbeat": request(6, NULL, command(CommandName.AUDIT_VALUE, "ROOT", Audit())),
    "heartbeat reply": reply(6, NULL, command(CommandName.AUDIT_VALUE, "ROOT")),
    "controller is silent": request(
        7,
        NULL,
        command(CommandName.NOTIFY, "ROOT", ObservedEvents(1, (ObservedEvent("it/ito", (), "20300102T03050000"),))),
        mid=GATEWAY,
    ),
    # a session
    "reserve both": request(
        10,
        CHOOSE,
        _add("core", _CORE_LOCAL, None, _watch(10, "tcpbcc/BNCChange"), mode=Mode.INACTIVE),
        _add("access", _ACCESS_LOCAL, _ACCESS_REMOTE, _watch(11, "tcpbcc/BNCChange", "tlsbsc/BNCChange")),
    ),
    "reserve reply": reply(
        10,
        77,
        command(
            CommandName.ADD,
            "ip/1/2/1001",
            Media((Stream(1, local=sdp("203.0.113.1", "40010", "TCP", "a=setup:active")),)),
        ),
        command(
            CommandName.ADD,
            "ip/1/1/1002",
            Media(
                (
                    Stream(
                        1,
                        local=sdp("2001:db8::9", "41000", "TCP/TLS", "a=setup:passive", f"a=fingerprint:sha-256 {FINGERPRINT}"),
                    ),
                )
            ),
        ),
    ),
    "configure": request(
        11,
        77,
        command(
            CommandName.MODIFY,
            "ip/1/2/1001",
            Media(
                (
                    Stream(
                        1,
                        LocalControl(Mode.SEND_RECEIVE),
                        remote=sdp("203.0.113.30", "2855", "TCP", "a=setup:passive"),
                    ),
                )
            ),
        ),
        command(
            CommandName.MODIFY,
            "ip/1/1/1002",
            Media((Stream(1, remote=_ACCESS_REMOTE),)),
            Signals((Event("tcpbcc/EstBNC", _ESTABLISH), Event("tlsbsc/EstBNC", _ESTABLISH))),
        ),
    ),
    "configure reply": reply(11, 77, command(CommandName.MODIFY, "ip/1/2/1001"), command(CommandName.MODIFY, "ip/1/1/1002")),
    "reserve a fax": request(
        12,
        CHOOSE,
        _add(
            "access",
            sdp("$", "$", "UDP/DTLS", "a=setup:active", "a=fingerprint:sha-256 $", media="image"),
            sdp("198.51.100.7", "46000", "UDP/DTLS", "b=AS:48", "a=setup:actpass", media="image"),
            _watch(12, "dtlsbsc/BNCChange"),
            Signals((Event("ipnapt/latch", (parameter("napt", "LATCH"),)), Event("dtlsbsc/EstBNC", _ESTABLISH))),
        ),
    ),
    "filters and policing": request(
        13,
        77,
        command(
            CommandName.MODIFY,
            "ip/1/1/1002",
            Media(
                (
                    Stream(
                        1,
                        LocalControl(
                            Mode.SEND_ONLY,
                            reserved_value=False,
                            reserved_group=True,
                            properties=(
                                parameter("gm/saf", "ON"),
                                parameter("gm/sam", "[198.51.100.7]", quoted=True),
                                Property("gm/spr", Value(("1024-2048", "4000-5000"), form="and", quoted=True)),
                                Property("tman/sdr", Value(("64000", "128000"), form="range")),
                            ),
                        ),
                        remote="",
                    ),
                )
            ),
            Events(13, (Event("adid/ipstop", (parameter("dt", "300"), parameter("dir", "BOTH", quoted=True))),)),
        ),
    ),
    "emergency": Message(
        CONTROLLER,
        (
            TransactionRequest(
                14,
                (
                    Action(
                        CHOOSE,
                        (_add("core", _CORE_LOCAL, None),),
                        ContextProperties(priority=15, emergency=True),
                    ),
                ),
            ),
        ),
    ),
    "topology": Message(
        CONTROLLER,
        (
            TransactionRequest(
                15,
                (
                    Action(
                        77,
                        (command(CommandName.MODIFY, "ip/1/1/1002"),),
                        ContextProperties(topology=(("ip/1/1/1002", "ip/1/2/1001", "Isolate"),)),
                    ),
                ),
            ),
        ),
    ),
    "stop all signals and events": request(16, 77, command(CommandName.MODIFY, "ip/1/1/1002", Events())),
    "reserve for voice behind a NAT": request(
        19,
        CHOOSE,
        command(
            CommandName.ADD,
            "ip/1/$/$",
            Media((
                Stream(
                    1,
                    LocalControl(Mode.SEND_RECEIVE, properties=(
                        parameter("ipdc/realm", "access", quoted=True), parameter("gm/saf", "ON"),
                        Property("gm/sam", Value(("[203.0.113.99]", "[2001:db8::9]"), form="and", quoted=True)),
                    )),
                    sdp("$", "$", "RTP/AVP", "a=rtcp-mux", media="audio").replace("IP6", "IP4"),
                    sdp("192.0.2.9", "4000", "RTP/AVP", "a=rtcp:4009 IN IP4 192.0.2.9", "a=rtcp-mux", media="audio"),
                ),
            )),
            Signals((Event("ipnapt/latch", (parameter("Stream", "1"), parameter("napt", "LATCH"))),)),
        ),
    ),
    "release": request(17, 77, Command(CommandName.SUBTRACT, ("*",), (Audit(),), wildcard_response=True)),
    "release reply": reply(17, 77, command(CommandName.SUBTRACT, "*")),
    "release two": request(
        18,
        78,
        Command(CommandName.SUBTRACT, ("ip/1/1/1003",), (Audit(),), optional=True),
        command(CommandName.SUBTRACT, "ip/1/2/1004", Audit(("Statistics",))),
    ),
    "release reply with statistics": reply(
        18,
        78,
        command(
            CommandName.SUBTRACT,
            "ip/1/1/1003",
            Statistics((parameter("nt/os", "4711"), parameter("nt/dur", "90"))),
        ),
    ),
    # audits
    "audit the packages": request(20, NULL, command(CommandName.AUDIT_VALUE, "ROOT", Audit(("Packages",)))),
    "packages": reply(20, NULL, command(CommandName.AUDIT_VALUE, "ROOT", Packages((("g", 1), ("root", 2), ("tlsbsc", 1))))),
    "audit everything": request(21, ALL, command(CommandName.AUDIT_VALUE, "*", Audit())),
    "audit a termination": request(22, 77, command(CommandName.AUDIT_VALUE, "ip/1/1/1002", Audit(("Media", "Events")))),
    "audit the service state": request(
        23, NULL, command(CommandName.AUDIT_VALUE, "ROOT", Audit(("Media{TerminationState{ServiceStates}}",)))
    ),
    "service state": reply(
        23, NULL, command(CommandName.AUDIT_VALUE, "ROOT", Media(termination_state=(parameter("ServiceStates", "InService"),)))
    ),
    "audit capabilities": request(24, NULL, command(CommandName.AUDIT_CAPABILITY, "ROOT", Audit(("Media",)))),
    "terminations of a context": reply(25, 77, Command(CommandName.AUDIT_VALUE, ("ip/1/1/1002", "ip/1/2/1001"))),
    # notifications
    "handshake failed": request(
        30,
        77,
        command(
            CommandName.NOTIFY,
            "ip/1/1/1002",
            ObservedEvents(
                11,
                (
                    ObservedEvent("tlsbsc/BNCChange", (parameter("Stream", "1"), parameter("Type", "Rel")), "20300102T03060000"),
                    ObservedEvent(
                        "g/cause",
                        (
                            parameter("Stream", "1"),
                            parameter("Generalcause", "FP"),
                            parameter("Failurecause", "the certificate does not match", quoted=True),
                        ),
                        "20300102T03060000",
                    ),
                ),
            ),
        ),
        mid=GATEWAY,
    ),
    "notify reply": reply(30, 77, command(CommandName.NOTIFY, "ip/1/1/1002"), mid=CONTROLLER),
    # errors and the rest
    "error of a command": reply(
        40, NULL, command(CommandName.ADD, "ip/1/$/$", ErrorDescriptor(449, "Unknown Value: ipdc/realm=moon"))
    ),
    "error after a success": reply(
        41,
        77,
        command(CommandName.MODIFY, "ip/1/1/1002"),
        command(CommandName.ADD, "ip/1/$/$", ErrorDescriptor(510, "Insufficient Resources")),
    ),
    "error of an action": message(TransactionReply(42, (Action(77, error=ErrorDescriptor(411, "Unknown ContextId")),))),
    "error of a transaction": message(TransactionReply(43, error=ErrorDescriptor(403, "Syntax Error in Transaction"))),
    "error without a text": message(TransactionReply(44, error=ErrorDescriptor(500))),
    "error of a message": Message(GATEWAY, error=ErrorDescriptor(400, "Syntax error in message")),
    "version refused": Message(CONTROLLER, error=ErrorDescriptor(406, "Version Not Supported"), version=1),
    "pending": message(TransactionPending(11)),
    "confirm this at once": message(
        TransactionReply(11, (Action(77, (command(CommandName.MODIFY, "ip/1/2/1001"),)),), immediate_ack_required=True)
    ),
    "confirmation": message(TransactionAck(((1, 7), (11, 11))), mid=CONTROLLER),
    "confirmation with a request": message(
        TransactionAck(((17, 18),)),
        TransactionRequest(50, (Action(NULL, (command(CommandName.AUDIT_VALUE, "ROOT", Audit()),)),)),
        TransactionRequest(51, (Action(77, (command(CommandName.AUDIT_VALUE, "*", Audit()),)),)),
        mid=CONTROLLER,
    ),
    # message identifiers
    "IPv6 mId": reply(60, NULL, command(CommandName.NOTIFY, "ROOT"), mid="[2001:db8::1]:2944"),
    "domain mId": reply(61, NULL, command(CommandName.NOTIFY, "ROOT"), mid="<agw-1.example.net>:2944"),
    "domain mId without port": reply(62, NULL, command(CommandName.NOTIFY, "ROOT"), mid="<agw-1.example.net>"),
    "device mId": reply(63, NULL, command(CommandName.NOTIFY, "ROOT"), mid="agw/1"),
}
