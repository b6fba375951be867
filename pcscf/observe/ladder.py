"""Ladder diagrams out of traces: one per flow, every message once, SIP, Iq, TLS and MSRP together."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pcscf.observe.trace import LINK, TraceEvent

COLUMNS = {"ue": "UE", "pcscf": "P-CSCF", "agw": "AGW", "core": "core", "party": "party", "ue2": "UE"}
FAR_ENDS = ("party", "ue2")   # who is called: the first stands for all where none takes part
SPACING = 11
MARGIN = 3
MAX_TEXT_LINES = 4

# Who is at the other end where the address says nothing: by who writes, and by protocol where that matters.
_USUAL_PEER = {"ue": "pcscf", "ue2": "pcscf", "pcscf": "core", "core": "pcscf", "party": "core", "agw": "pcscf"}
_USUAL_PEER_BY_PROTO = {("pcscf", "Iq"): "agw", ("agw", "TLS"): "ue", ("ue", "TLS"): "agw", ("ue2", "TLS"): "agw",
                        ("agw", "DTLS"): "ue", ("ue", "DTLS"): "agw", ("ue2", "DTLS"): "agw",
                        **{(end, proto): "agw" for end in ("ue", "ue2", "party") for proto in ("MSRP", "BFCP", "T.38")}}
_KNOWN_AT_BOTH_ENDS = frozenset({"MSRP", "BFCP"})   # by the same id
_HANDSHAKES = frozenset({"TLS", "DTLS"})
_PAGES = "T.38"   # its datagrams have no id: where both ends tell, what was sent stands for what came


@dataclass(frozen=True, slots=True)
class Arrow:
    """A message from one column to another."""

    t: float
    source: str
    target: str
    proto: str
    text: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """One flow: `keys` are all that name it (Call-ID, `context n`), `title` is for a person."""

    keys: frozenset[str]
    title: str
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One printed line; `proto` lets a terminal colour it."""

    proto: str
    text: str


def ladders(events: Sequence[TraceEvent]) -> list[Ladder]:
    """One ladder per SIP flow, in the order of their beginning. `events` by time."""
    nodes = {event.local: event.node for event in events if event.local}
    result = []
    for group in _flows(events):
        receivers = {event.id: event.node for event in group if event.proto in _KNOWN_AT_BOTH_ENDS and event.dir == "in"}
        receivers |= {event.proto: event.node for event in group if _is_accepted_handshake(event)}
        if len(faxing := sorted({event.node for event in group if event.proto == _PAGES})) == 2:
            receivers |= {f"{_PAGES} {one}": other for one, other in zip(faxing, faxing[::-1], strict=True)}
        arrows = tuple(_arrow(event, nodes, receivers) for event in _once(group))
        result.append(Ladder(frozenset(key for event in group for key in event.keys), _title(group), arrows))
    return result


class _Groups:
    """Keys that belong together (a disjoint-set forest)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, key: str) -> str:
        root = key
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        self._parent[key] = root
        return root

    def join(self, key: str, others: Iterable[str]) -> None:
        """`others` come to `key`; what names the group of `key` stays."""
        for other in others:
            self._parent[self.find(other)] = self.find(key)


def _flows(events: Sequence[TraceEvent]) -> list[list[TraceEvent]]:
    """Events by SIP flow. A gateway context that nothing links to a call goes to the call worked on before it."""
    groups = _Groups()
    keyed = [event for event in events if event.keys]
    for event in keyed:
        groups.join(event.keys[0], event.keys[1:])
    calls = {groups.find(event.flow) for event in keyed if event.proto == "SIP"}
    contexts = {groups.find(key) for event in keyed for key in event.keys if key.startswith("context ")}
    current = ""
    for event in keyed:
        root = groups.find(event.flow)
        if event.proto == "SIP":
            current = root
        elif current and root in contexts - calls:
            groups.join(current, [root])
    flows: dict[str, list[TraceEvent]] = {}
    for event in keyed:
        root = groups.find(event.flow)
        if root in calls and event.proto != LINK:
            flows.setdefault(root, []).append(event)
    return list(flows.values())


def _once(group: Sequence[TraceEvent]) -> list[TraceEvent]:
    """Every message once: as the P-CSCF saw it, else as its sender did; TLS as the gateway saw it, else as its client did."""
    by_pcscf = {event.id for event in group if event.node == "pcscf" and event.id}
    sent = {event.id for event in group if event.dir == "out" and event.id}
    gateway_tells = any(event.node == "agw" and event.proto in _HANDSHAKES for event in group)
    clients = {event.proto for event in group if event.proto in _HANDSHAKES and event.dir == "out"}
    faxing = {event.node for event in group if event.proto == _PAGES}
    shown = []
    for event in group:
        if event.proto == _PAGES and event.dir == "in" and len(faxing) > 1:
            continue
        if gateway_tells and event.proto in _HANDSHAKES and event.node != "agw":
            continue
        if not gateway_tells and event.proto in clients and event.dir == "in":
            continue
        if event.node == "pcscf" or not event.id or (
            event.id not in by_pcscf and (event.dir == "out" or event.id not in sent)
        ):
            shown.append(event)
    return shown


def _is_accepted_handshake(event: TraceEvent) -> bool:
    """Whether an end, not the gateway, was the server."""
    return event.proto in _HANDSHAKES and event.node != "agw" and event.dir == "in"


def _arrow(event: TraceEvent, nodes: Mapping[str, str], receivers: Mapping[str, str]) -> Arrow:
    other = event.peer if event.peer in COLUMNS else nodes.get(event.peer)
    if event.proto in _KNOWN_AT_BOTH_ENDS and event.dir == "out":
        other = receivers.get(event.id, other)
    elif event.proto in _HANDSHAKES and event.node != "agw" and event.dir == "out":
        other = receivers.get(event.proto, other)   # from end to end
    elif event.proto == _PAGES and event.dir == "out":
        other = receivers.get(f"{_PAGES} {event.node}", other)
    if other is None:
        other = _USUAL_PEER_BY_PROTO.get((event.node, event.proto)) or _USUAL_PEER.get(event.node, "pcscf")
    source, target = (event.node, other) if event.dir == "out" else (other, event.node)
    return Arrow(event.t, source, target, event.proto, event.text)


def _title(group: Sequence[TraceEvent]) -> str:
    for event in group:
        if event.proto == "SIP" and "status" not in event.facts:
            method, caller, callee = (event.facts.get(name, "") for name in ("method", "from", "to"))
            return f"{method} {caller}" if caller == callee else f"{method} {caller} → {callee}"
    return group[0].flow


def render(ladder: Ladder, width: int = 120) -> list[Row]:
    """The ladder as lines of at most `width` columns, headings first."""
    places = {node: MARGIN + index * SPACING for index, node in enumerate(_columns(ladder))}
    span = max(places.values()) + MARGIN
    heading = [" "] * (span + 4)
    for node, place in places.items():
        name = COLUMNS[node]
        start = max(place - len(name) // 2, 0)
        heading[start:start + len(name)] = name
    rows = [Row("", " " * 9 + "".join(heading).rstrip())]
    start_time = ladder.arrows[0].t if ladder.arrows else 0.0
    for arrow in ladder.arrows:
        text = arrow.text if arrow.proto == "SIP" or arrow.text.startswith(arrow.proto) else f"{arrow.proto} {arrow.text}"
        pieces = textwrap.wrap(
            text, max(width - span - 12, 30), max_lines=MAX_TEXT_LINES, placeholder=" …", break_on_hyphens=False,
        ) or [""]
        moment = f"{(arrow.t - start_time) * 1000:6.0f}ms "
        rows.append(Row(arrow.proto, f"{moment}{_lifelines(places, span, arrow)} {pieces[0]}"))
        rows += [Row(arrow.proto, f"{'':9}{_lifelines(places, span, None)}   {piece}") for piece in pieces[1:]]
    return rows


def _columns(ladder: Ladder) -> list[str]:
    """The network always, and of the far ends those that take part."""
    active = {node for arrow in ladder.arrows for node in (arrow.source, arrow.target)}
    far_ends = [node for node in FAR_ENDS if node in active] or [FAR_ENDS[0]]
    return [node for node in COLUMNS if node not in FAR_ENDS or node in far_ends]


def _lifelines(places: Mapping[str, int], span: int, arrow: Arrow | None) -> str:
    line = [" "] * span
    for place in places.values():
        line[place] = "│"
    if arrow is not None:
        source, target = places.get(arrow.source, MARGIN), places.get(arrow.target, MARGIN)
        low, high = sorted((source, target))
        line[low + 1:high] = "─" * (high - low - 1)
        if low == high:
            line[low] = "●"
        elif target == high:
            line[high - 1] = ">"
        else:
            line[low + 1] = "<"
    return "".join(line)
