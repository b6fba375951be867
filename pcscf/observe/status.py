"""How a P-CSCF is: a snapshot for people, programs and monitoring. Numbers and names of causes; no user's identity or address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pcscf.h248.transaction import TransactionCounts
from pcscf.iq.status import GatewayStatus


class Lines(NamedTuple):
    """A kind of media lines: the medium, what protects it (tls, dtls, end-to-end, none), and how many there are."""

    medium: str
    protection: str
    number: int


class Child(NamedTuple):
    """An embedded gateway: its name on Iq, its process (None: it has just died), where it serves its own status ("": nowhere)."""

    mid: str
    process: int | None
    http: str


class Resources(NamedTuple):
    """Of a process: seconds of CPU, octets of memory, open files, and how many it may open."""

    cpu: float
    memory: int
    files: int
    files_limit: int


@dataclass(frozen=True, slots=True)
class PcscfStatus:
    """started: seconds since the epoch; process: its id.

    registrations  registered, pending (a first REGISTER waits for its answer), protected (registered with media security)
    sessions       early, confirmed, ended (kept a while for what crosses the end)
    dialogs        of sessions, of subscriptions (SUBSCRIBE and REFER)
    transactions   SIP: client (ours), server
    connections    TCP and TLS, by listener
    media          lines of confirmed sessions, as their last answer settled them
    gateways       as `pcscf gateways status` tells
    children       the embedded ones
    From here on since the start:
    requests, responses  "received" and "sent", by method and by class ("2xx")
    repeats        requests that came again; requests and responses that were sent again
    sip_failures   transactions that failed, what could not be read, and connections that were turned away, by cause
    refused        requests that were answered here with an error, by status
    released       sessions that were ended from here, by the status that says why
    decided        lines of offers and answers, by what was decided about them
    events         what else happened that is worth a line in the log, by name
    iq             H.248 transactions with all gateways
    """

    name: str
    process: int
    started: float
    registrations: Mapping[str, int]
    registrations_limit: int
    sessions: Mapping[str, int]
    sessions_limit: int
    dialogs: Mapping[str, int]
    transactions: Mapping[str, int]
    connections: Mapping[str, int]
    media: tuple[Lines, ...]
    gateways: tuple[GatewayStatus, ...]
    children: tuple[Child, ...]
    requests: Mapping[str, Mapping[str, int]]
    responses: Mapping[str, Mapping[str, int]]
    repeats: Mapping[str, int]
    sip_failures: Mapping[str, int]
    refused: Mapping[str, int]
    released: Mapping[str, int]
    decided: Mapping[str, int]
    events: Mapping[str, int]
    iq: TransactionCounts
    resources: Resources

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        told = asdict(self)
        named: dict[str, Any] = {
            "media": [each._asdict() for each in self.media], "children": [each._asdict() for each in self.children],
            "iq": self.iq._asdict(), "resources": self.resources._asdict()}
        return told | named


def as_text(told: Mapping[str, Any]) -> Iterator[str]:
    """For people, from what `PcscfStatus.plain` gives."""
    since = datetime.fromtimestamp(told["started"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield f"{told['name']}   process {told['process']}, since {since}"
    registrations, sessions, used = told["registrations"], told["sessions"], told["resources"]
    yield (f"registrations  {registrations['registered']} of {told['registrations_limit']}, "
           f"{registrations['protected']} with media security, {registrations['pending']} pending")
    yield (f"sessions       {sessions['early'] + sessions['confirmed']} of {told['sessions_limit']}, "
           f"{sessions['early']} early, {sessions['confirmed']} confirmed, {sessions['ended']} ended")
    yield f"dialogs        {_row(told['dialogs'])}"
    yield f"transactions   {_row(told['transactions'])}"
    yield f"connections    {_row(told['connections']) or 'none'}"
    yield "media          " + (", ".join(_lines(each) for each in told["media"]) or "none")
    for each in told["gateways"]:
        drained = ", drained" if each["drained"] else ""
        share = f", gets {each['share']:.0%} of new sessions" if each["share"] < 1 else ""
        yield (f"gateway        {each['mid']}: {each['state']}{drained}, {each['sessions']} contexts, "
               f"{each['transactions']} unanswered{share}")
    for each in told["children"]:
        process = f"process {each['process']}" if each["process"] else "not running"
        yield f"embedded       {each['mid']}: {process}" + (f", status at {each['http']}" if each["http"] else "")
    for direction in ("received", "sent"):
        yield f"{direction:14} {_row(told['requests'][direction], few=True) or 'no request'}"
        yield f"{'':14} {_row(told['responses'][direction], few=True) or 'no response'}"
    yield f"repeated       {_row(told['repeats'])}"
    for title in ("sip_failures", "refused", "released", "decided", "events"):
        if any(told[title].values()):
            yield f"{title.replace('_', ' '):14} {_row(told[title], few=True)}"
    yield f"iq             {_row(told['iq']).replace('_', ' ')}"
    yield (f"process        {used['cpu']:.1f} s CPU, {used['memory'] / 1_048_576:.0f} MiB, "
           f"{used['files']} of {used['files_limit']} files")


def _row(numbers: Mapping[str, int], *, few: bool = False) -> str:
    return ", ".join(f"{name}: {number:,}" for name, number in numbers.items() if number or not few)


def _lines(kind: Mapping[str, Any]) -> str:
    protection = "unprotected" if kind["protection"] == "none" else kind["protection"]
    return f"{kind['medium']} {protection}: {kind['number']}"
