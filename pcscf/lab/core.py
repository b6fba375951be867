"""A SIP core in one process: registrar with digest (RFC 3261 §10, RFC 3327, RFC 3608) and stateless proxy (§16.11)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field

from pcscf.errors import Forbidden, PcscfError, SipError, TooManyHops, UnsupportedExtension, UserUnknown
from pcscf.lab.agent import note_source, token
from pcscf.lab.digest import challenge, parse_digest_untrusted, verify_untrusted
from pcscf.lab.net import Link, SipSockets, Target, target_of
from pcscf.lab.tap import Address, Tap
from pcscf.sip.headers import MAGIC_COOKIE, Via, contact_expires, parse_name_addr
from pcscf.sip.message import Message, Request, Response, response_to
from pcscf.sip.parse import check_request
from pcscf.sip.uri import Uri

DEFAULT_EXPIRES = 600
MAX_NONCES = 10_000
MAX_KEPT = 10_000   # messages kept in `received`
DIALOG_METHODS = frozenset({"INVITE", "SUBSCRIBE", "REFER"})


@dataclass(frozen=True, slots=True)
class Binding:
    """A contact of a user and the Path that leads there."""

    contact: str
    path: tuple[str, ...]
    expires_at: float   # event-loop time


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """users: password by user name. parties: SIP URI of the far end by user name; they need no registration.

    require_path: whether a REGISTER must come through a proxy that put its Path in (RFC 3327 §5.3).
    """

    domain: str
    users: dict[str, str]
    parties: dict[str, str] = field(default_factory=dict)
    require_path: bool = True
    algorithm: str = "MD5"


class Core:
    """Open it with `start`. `received` keeps what came in, as it came, for whoever must prove what did not."""

    def __init__(self, config: CoreConfig, tap: Tap, *, host: str = "127.0.0.1") -> None:
        self.config = config
        self.host = host
        self.sockets = SipSockets(self._receive, tap)
        self.address: Address = (host, 0)
        self.received: list[bytes] = []
        self.bindings: dict[str, list[Binding]] = {}   # by user name
        self._nonces: dict[str, None] = {}
        self._secret = secrets.token_bytes(16)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> Address:
        """Open UDP and TCP on one port. Raises OSError."""
        self.address = await self.sockets.listen(self.host, port)
        return self.address

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sockets.close()

    # receiving

    def _receive(self, message: Request | Response, link: Link) -> None:
        if len(self.received) < MAX_KEPT:
            self.received.append(message.to_bytes())
        task = asyncio.create_task(self._handle(message, link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, message: Request | Response, link: Link) -> None:
        try:
            if isinstance(message, Response):
                await self._forward_response(message)
                return
            check_request(message)
            note_source(message, link)
            await self._handle_request(message, link)
        except SipError as error:
            self._refuse(message, error, link)
        except PcscfError:
            return   # an unreachable next hop: the sender's own timers tell it (a stateless proxy keeps none)

    def _refuse(self, message: Request | Response, error: SipError, link: Link) -> None:
        if not isinstance(message, Request) or message.method == "ACK":
            return
        response = response_to(message, error.status, error.reason, to_tag=token())
        for name, value in error.headers():
            response.add(name, value)
        link.send(response)

    async def _handle_request(self, request: Request, link: Link) -> None:
        if unknown := request.values("Proxy-Require"):
            raise UnsupportedExtension(unknown)
        self._drop_own_routes(request)
        if request.method == "REGISTER":
            self._register(request, link)
        elif request.method == "OPTIONS" and self._is_ours(request.uri_parsed) and not request.uri_parsed.user:
            link.send(response_to(request, 200, to_tag=token()))
        else:
            await self._proxy(request)

    def _is_ours(self, uri: Uri) -> bool:
        return uri.host.lower() == self.config.domain or (uri.host, uri.port or 5060) == self.address

    def _own_uri(self, user: str = "") -> str:
        return str(Uri("sip", user, "", *self.address, (("lr", None),), ""))

    def _drop_own_routes(self, request: Request) -> None:
        while routes := request.values("Route"):
            if not self._is_ours(parse_name_addr(routes[0]).uri_parsed):
                return
            request.remove_first_value("Route")

    # registrar

    def _register(self, request: Request, link: Link) -> None:
        path = request.values("Path")
        if self.config.require_path and not (path and "path" in _tags(request, "Require")):
            refusal = response_to(request, 421, to_tag=token())
            refusal.add("Require", "path")
            link.send(refusal)
            return
        user = self._authenticated(request)
        if user is None:
            link.send(self._challenge(request))
            return
        if request.to.uri_parsed.user != user:
            raise Forbidden(f"{user} may not register {request.to.uri}")
        self._bind(user, request, tuple(path))
        link.send(self._registered(user, request))

    def _authenticated(self, request: Request) -> str | None:
        """The user whose credentials are good for a nonce of ours."""
        credentials = request.get("Authorization")
        if credentials is None:
            return None
        try:
            if parse_digest_untrusted(credentials).get("nonce") not in self._nonces:
                return None
            return verify_untrusted(credentials, request.method, self.config.users)
        except PcscfError:
            return None

    def _challenge(self, request: Request) -> Response:
        nonce = token()
        if len(self._nonces) >= MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        self._nonces[nonce] = None
        response = response_to(request, 401, to_tag=token())
        response.add("WWW-Authenticate", challenge(self.config.domain, nonce, self.config.algorithm))
        return response

    def _bind(self, user: str, request: Request, path: tuple[str, ...]) -> None:
        now = asyncio.get_running_loop().time()
        bindings = {binding.contact: binding for binding in self._live(user)}
        for value in request.values("Contact"):
            if value == "*":
                bindings.clear()
                continue
            contact = parse_name_addr(value)
            expires = contact_expires(contact.params, request.get("Expires"), DEFAULT_EXPIRES)
            bindings.pop(contact.uri, None)
            if expires:
                bindings[contact.uri] = Binding(contact.uri, path, now + expires)
        self.bindings[user] = list(bindings.values())

    def _live(self, user: str) -> list[Binding]:
        now = asyncio.get_running_loop().time()
        return [binding for binding in self.bindings.get(user, []) if binding.expires_at > now]

    def _registered(self, user: str, request: Request) -> Response:
        now = asyncio.get_running_loop().time()
        response = response_to(request, 200, to_tag=token())
        for binding in self._live(user):
            response.add("Contact", f"<{binding.contact}>;expires={round(binding.expires_at - now)}")
        response.copy_lines(request, "Path")
        response.add("Service-Route", f"<{self._own_uri('orig')}>")
        response.add("P-Associated-URI", f"<sip:{user}@{self.config.domain}>")
        return response

    # proxy

    async def _proxy(self, request: Request) -> None:
        hops = int(request.get("Max-Forwards") or "70")
        if hops == 0:
            raise TooManyHops("Max-Forwards is used up")
        onward = request.copy()
        onward.set("Max-Forwards", str(hops - 1))
        if not onward.values("Route") and self._is_ours(onward.uri_parsed):
            self._retarget(onward)
        if not request.to_tag and request.method in DIALOG_METHODS:
            onward.prepend("Record-Route", f"<{self._own_uri()}>")
        routes = onward.values("Route")
        next_hop = parse_name_addr(routes[0]).uri_parsed if routes else onward.uri_parsed
        link = await self.sockets.reach(target_of(next_hop))
        params = (("branch", self._branch(request)), ("rport", None))
        onward.prepend("Via", str(Via(link.transport.upper(), *self.address, params)))
        link.send(onward)

    def _retarget(self, request: Request) -> None:
        """From a user of ours to a party, or to where a user is registered. Raises UserUnknown, Forbidden."""
        user = request.uri_parsed.user
        if user in self.config.parties:
            self._check_caller(request)
            request.uri = self.config.parties[user]
            return
        bindings = self._live(user)
        if not bindings:
            raise UserUnknown(f"nobody is registered as {user}")
        request.set_values("Route", bindings[-1].path)
        request.uri = bindings[-1].contact

    def _check_caller(self, request: Request) -> None:
        asserted = request.values("P-Asserted-Identity")
        caller = parse_name_addr(asserted[0]).uri_parsed if asserted else request.from_.uri_parsed
        if caller.user not in self.config.parties and not self._live(caller.user):
            raise Forbidden(f"{caller.user} is not registered")

    def _branch(self, request: Request) -> str:
        """Always the same for a transaction, its CANCEL and its ACK: we keep no state (RFC 3261 §16.11)."""
        via = request.top_via
        content = f"{via.host}:{via.port};{via.branch};{request.call_id};{request.cseq[0]}".encode()
        return MAGIC_COOKIE + hashlib.blake2s(content, key=self._secret, digest_size=12).hexdigest()

    async def _forward_response(self, response: Response) -> None:
        response.remove_first_value("Via")
        if "Via" not in response:
            return
        via = response.top_via
        transport = via.transport.rpartition("/")[2].lower()
        link = await self.sockets.reach(Target(transport, via.received or via.host, via.rport or via.port or 5060))
        link.send(response)


def _tags(message: Message, name: str) -> set[str]:
    return {value.lower() for value in message.values(name)}


def party_uri(address: Address, user: str) -> str:
    """The value that `CoreConfig.parties` wants for a party at `address`."""
    return str(Uri("sip", user, "", *address, (), ""))
