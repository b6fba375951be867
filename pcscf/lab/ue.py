"""A UE of the IMS: registers with digest and media-security agreement, then calls (TS 24.229 §5.1, RFC 3329)."""

from __future__ import annotations

import ssl
import uuid
from dataclasses import dataclass, field
from typing import Literal

from pcscf.errors import PcscfError
from pcscf.lab.agent import token
from pcscf.lab.call import MAX_FORWARDS, Habits, Manners, new_call_id
from pcscf.lab.digest import DigestClient
from pcscf.lab.net import Link, Target
from pcscf.lab.tap import Tap
from pcscf.lab.useragent import UserAgent, Witness
from pcscf.sip.headers import NameAddr, contact_expires, parse_name_addr
from pcscf.sip.message import Request, Response
from pcscf.sip.uri import Uri

MEDIA_MECHANISMS = ("msrp-tls", "bfcp-tls", "udptl-dtls")
MAX_ATTEMPTS = 4   # REGISTERs until we give up: plain, with credentials, once more for 494 and for a stale nonce


class RegistrationRefusedError(PcscfError):
    """REGISTER ended with `status`."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.reason}".strip())
        self.status = response.status


@dataclass(frozen=True, slots=True)
class Account:
    """Who registers where. `user` without domain; `proxy` is the P-CSCF (or a registrar, to try without one)."""

    user: str
    password: str
    domain: str
    proxy: Target

    @property
    def uri(self) -> str:
        return f"sip:{self.user}@{self.domain}"


@dataclass(frozen=True, slots=True)
class SecurityHabits:
    """What the UE says about media security. mechanisms (): nothing at all.

    lines    one Security-Client line per mechanism, or all in one
    verify   mirror the list, leave it out, or alter it: the last two are faults that a P-CSCF must notice
    """

    mechanisms: tuple[str, ...] = MEDIA_MECHANISMS
    lines: Literal["one", "several"] = "several"
    verify: Literal["mirror", "omit", "alter"] = "mirror"


@dataclass(slots=True)
class Registration:
    """What the network said in 401 and 200."""

    service_route: list[str] = field(default_factory=list)
    associated_uris: list[str] = field(default_factory=list)
    security_server: list[str] = field(default_factory=list)
    expires: int = 0

    @property
    def active(self) -> bool:
        return self.expires > 0


class Ue(UserAgent):
    """A UE. `tls`: context for signalling over TLS. Open it with `start`, then `register`, then `call`."""

    def __init__(
        self, account: Account, habits: Habits, tap: Tap, *,
        security: SecurityHabits | None = None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1",
        manners: Manners | None = None, witness: Witness | None = None,
    ) -> None:
        super().__init__(account.uri, host, habits, tap, manners=manners, witness=witness)
        self.account = account
        self.security = security or SecurityHabits()
        self.registration = Registration()
        self._tls = tls
        self._digest = DigestClient(account.user, account.password)
        self._challenge = ""
        self._call_id = new_call_id()
        self._tag = token()
        self._cseq = 0
        self._instance = f"<urn:uuid:{uuid.uuid4()}>"

    async def start(self) -> None:
        """Open the way to the proxy. Raises OSError or UnreachableError."""
        if self.account.proxy.transport == "udp":
            await self.sockets.open_datagram(self.host, 0)
        await self.sockets.reach(self.account.proxy, self._tls)

    async def link_to(self, next_hop: Uri) -> Link:
        """Everything goes to the proxy, on the flow that was registered."""
        del next_hop
        return await self.sockets.reach(self.account.proxy, self._tls)

    @property
    def proxy_uri(self) -> Uri:
        transport, host, port = self.account.proxy
        params = () if transport == "udp" else (("transport", transport),)
        return Uri("sip", "", "", host, port, (*params, ("lr", None)), "")

    def contact(self, link: Link) -> str:
        params = () if link.transport == "udp" else (("transport", link.transport),)
        uri = Uri("sip", self.account.user, "", *link.local, params, "")
        return str(NameAddr("", str(uri), (("+sip.instance", f'"{self._instance}"'),)))

    def preloaded_routes(self) -> list[str]:
        """The P-CSCF, then the Service-Route (TS 24.229 §5.1.2A.1.1, RFC 3608)."""
        return [f"<{self.proxy_uri}>", *self.registration.service_route]

    def decorate(self, request: Request) -> None:
        """Identity and the mirrored security list (RFC 3329 §2.3.1)."""
        if not request.to_tag:
            preferred = self.registration.associated_uris[:1] or [f"<{self.uri}>"]
            request.add("P-Preferred-Identity", preferred[0])
        self._add_verify(request)

    # registration

    async def register(self, expires: int = 600) -> Registration:
        """Register, answering the challenge. Raises RegistrationRefusedError, NoResponseError or DigestError."""
        link = await self.link_to(self.proxy_uri)
        for _ in range(MAX_ATTEMPTS):
            request = self._register(link, expires)
            response = await self.send_request(request, link).final_response()
            self._learn_security(response)
            if response.status == 200:
                return self._registered(response, request)
            if response.status not in {401, 494}:
                break
            if response.status == 401:
                self._challenge = response.get("WWW-Authenticate") or ""
        raise RegistrationRefusedError(response)

    async def deregister(self) -> None:
        """Register for no time at all."""
        await self.register(0)

    def _register(self, link: Link, expires: int) -> Request:
        self._cseq += 1
        registrar = f"sip:{self.account.domain}"
        request = Request("REGISTER", registrar, [
            ("Max-Forwards", MAX_FORWARDS),
            ("From", str(NameAddr("", self.uri, (("tag", self._tag),)))),
            ("To", f"<{self.uri}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", f"{self.contact(link)};expires={expires}"),
            ("Supported", "path"),
        ])
        request.add("Authorization", self._authorization(registrar))
        entries = [f"{name};mediasec" for name in self.security.mechanisms]
        for value in [", ".join(entries)] if self.security.lines == "one" and entries else entries:
            request.add("Security-Client", value)
        self._add_verify(request)
        if entries and "Require" not in request:
            _require_mediasec(request)
        request.add("Content-Length", "0")
        return request

    def _authorization(self, registrar: str) -> str:
        """Credentials for the last challenge; before one came, only who asks (TS 24.229 §5.1.1.2.1)."""
        if self._challenge:
            return self._digest.authorization(self._challenge, "REGISTER", registrar, token())
        account = self.account
        return f'Digest username="{account.user}", realm="{account.domain}", uri="{registrar}", nonce="", response=""'

    def _add_verify(self, request: Request) -> None:
        entries = list(self.registration.security_server)
        if self.security.verify == "omit" or not entries:
            return
        if self.security.verify == "alter":
            entries = entries[1:] or ["msrp-tls;mediasec;altered=1"]
        for entry in entries:
            request.add("Security-Verify", entry)
        _require_mediasec(request)

    def _learn_security(self, response: Response) -> None:
        """The list of a 401, 494 or 200 replaces the one before (TS 24.229 §5.1.1.2.1, §5.1.1.5.1)."""
        if announced := response.values("Security-Server"):
            self.registration.security_server = announced

    def _registered(self, response: Response, request: Request) -> Registration:
        ours = parse_name_addr(request.get("Contact") or "")
        contacts = [parse_name_addr(value) for value in response.values("Contact")]
        mine = next((contact for contact in contacts if contact.uri == ours.uri), None)
        self.registration.service_route = response.values("Service-Route")
        self.registration.associated_uris = response.values("P-Associated-URI")
        self.registration.expires = contact_expires(mine.params, response.get("Expires"), 0) if mine else 0
        return self.registration


def _require_mediasec(request: Request) -> None:
    request.add("Require", "mediasec")
    request.add("Proxy-Require", "mediasec")
