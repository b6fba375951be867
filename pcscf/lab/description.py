"""Session descriptions as the lab needs them: one media line written, the line that we can use found and read (RFC 8866)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pcscf.errors import MalformedSdp
from pcscf.lab.tls import Fingerprint

COMPLEMENT = {"active": "passive", "passive": "active"}


@dataclass(frozen=True, slots=True)
class Section:
    """One media section. words: the m-line's after `m=`; session: the lines above all sections."""

    words: tuple[str, ...]
    lines: tuple[str, ...]
    session: tuple[str, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """Media and protocol, the latter in upper case."""
        return self.words[0], self.words[2].upper()

    @property
    def in_use(self) -> bool:
        return self.words[1] != "0"

    @property
    def port(self) -> int:
        """Raises MalformedSdp."""
        try:
            return int(self.words[1])
        except ValueError as error:
            raise MalformedSdp(f"no port: {self.words[1][:20]!r}") from error

    @property
    def address(self) -> str:
        """The address of c=, the section's own before the session's. Raises MalformedSdp."""
        for place in (self.lines, self.session):
            for line in place:
                if line.startswith("c=") and len(words := line[2:].split()) == 3:
                    return words[2]
        raise MalformedSdp(f"the line of {self.words[2]} needs c=")

    def all(self, name: str) -> list[str]:
        """Values of an attribute: of the section, else of the session (RFC 8122 §5, RFC 4145 §4)."""
        for place in (self.lines, self.session):
            found = [line[2:].partition(":")[2].strip() for line in place if line[2:].partition(":")[0] == name]
            if found:
                return found
        return []

    def first(self, name: str) -> str:
        return (self.all(name) or [""])[0]

    @property
    def setup(self) -> str:
        """a=setup; holdconn counts as absent (RFC 6135 §4.2.1)."""
        setup = self.first("setup").lower()
        return "" if setup == "holdconn" else setup

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        pairs = [value.split() for value in self.all("fingerprint")]
        return tuple((pair[0].lower(), pair[1].upper()) for pair in pairs if len(pair) == 2)

    @property
    def e2ae(self) -> str:
        return self.first("3ge2ae").lower()


def read_sections_untrusted(body: bytes) -> list[Section]:
    """Every media section whose m-line has its four parts. Raises MalformedSdp."""
    try:
        lines = [line.strip() for line in body.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise MalformedSdp("not UTF-8") from error
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    session = tuple(lines[:starts[0]] if starts else lines)
    sections = [
        Section(tuple(lines[start][2:].split()), tuple(lines[start + 1:end]), session)
        for start, end in zip(starts, [*starts, len(lines)][1:], strict=True)
    ]
    return [section for section in sections if len(section.words) >= 4]


def write_section(address: str, line: str, attributes: Iterable[str], *, session: int, version: int = 1) -> bytes:
    """A session description with this one line; `line` and `attributes` stand without `m=` and `a=`."""
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0", f"o=- {session} {version} IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0", f"m={line}",
        *(f"a={attribute}" for attribute in attributes),
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def fingerprint_attributes(fingerprints: tuple[Fingerprint, ...]) -> list[str]:
    return [f"fingerprint:{name} {value}" for name, value in fingerprints]


def answer_setup(offered: str, wanted: str) -> str:
    """Our setup in the answer (RFC 4145 §4.1); `wanted` counts where the offer leaves the choice."""
    if offered == "actpass":
        return wanted
    return COMPLEMENT.get(offered or "active", "passive")
