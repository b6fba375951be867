"""One TCP connection of a termination: bytes between its socket, its endpoint (TLS or plain), and the partner's.

Flow control goes all the way: what the partner cannot take is not read. At most one read (`READ_SIZE`) is held per
connection while the partner is not up, its gate is shut, or its peer is slow; the write buffer is bounded by its
high-water mark plus one read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, Protocol, cast

from pcscf.gateway.cause import Cause
from pcscf.gateway.endpoint import Endpoint, Established, Failed
from pcscf.gateway.frames import FrameError, FrameReader
from pcscf.gateway.policing import Policer
from pcscf.gateway.ports import mark
from pcscf.gateway.statistics import Count
from pcscf.gateway.yielding import YieldingEndpoint

READ_SIZE: Final = 131_072
"""Bytes read at once. With half of it a byte in bulk costs a fifth more; twice as much brings nothing."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """Who wants to know how the connection fares."""

    def connection_established(self, connection: Connection, event: Established) -> None: ...
    def connection_ended(self, connection: Connection, cause: Cause, alert: str) -> None:
        """Once per connection, unless its end was ordered with `release` or `reset`."""
    def connection_congested(self, connection: Connection, congested: bool) -> None:
        """The peer does not take what is sent to it, or does again."""


class Connection(asyncio.BufferedProtocol):
    """`buffer`: where every connection of the process reads into; it is emptied before control returns to the loop.

    count: grows with what passes. policer: says when to read again; None for no limit.
    """

    def __init__(self, owner: Owner, endpoint: Endpoint, buffer: memoryview, count: Count, *,
                 write_buffer: int, handshake_timeout: float, linger: float) -> None:  # fmt: skip
        self._owner = owner
        self._endpoint = endpoint
        self._buffer = buffer
        self._write_buffer = write_buffer
        self._handshake_timeout = handshake_timeout
        self._linger = linger
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._partner: Connection | None = None
        self._receives = self._sends = False
        self._frames: FrameReader | None = None
        self._congested = False      # our peer does not take what we write
        self._peer_done = False      # our peer has said its last byte
        self._finished = False       # we have said ours
        self._received_fin = self._sent_fin = False
        self._over = False           # nothing passes any more, only the socket lingers
        self.count = count
        self.policer: Policer | None = None
        self._policed: asyncio.TimerHandle | None = None   # stands while we do not read because of it
        self.last_received = self.last_sent = self._loop.time()

    @property
    def established(self) -> bool:
        """Application bytes may pass: the connection is up and its peer verified."""
        return self._transport is not None and not self._over and self._endpoint.established

    def link(
        self, partner: Connection | None, *, receives: bool, sends: bool, frames: FrameReader | None = None
    ) -> None:
        """Says where bytes go, whether the stream's mode lets them come from and go to our peer, and by whom they are read."""
        self._partner, self._receives, self._sends, self._frames = partner, receives, sends, frames
        self._forward()
        if partner is not None:
            partner._forward()

    def say(self, data: bytes) -> None:
        """Sends bytes of the gateway's own to our peer."""
        if self.established and not self._finished:
            self._send(data)

    def begin_tls(self) -> bool:
        """We are the TLS client, as the controller says now; False where we have been the server from the start."""
        endpoint = self._endpoint
        if not isinstance(endpoint, YieldingEndpoint):
            return False
        if endpoint.held and self._transport is not None:
            self._loop.call_later(endpoint.patience, self._begin, endpoint)
        endpoint.held = False
        return True

    def mark(self, dscp: int) -> None:
        if self._transport is not None:
            mark(self._transport.get_extra_info("socket"), dscp)

    def release(self) -> None:
        """Orderly end from our side: close_notify, FIN, and a limit on how long a slow peer may hold us up."""
        if self._over or self._transport is None:
            self._abandon()
            return
        if self._endpoint.established:
            self._finish()
        self._end()
        self._transport.close()

    def give_up(self, cause: Cause) -> None:
        """Ends it at once, with all that waits for its peer, and tells the owner."""
        if not self._over:
            self.reset()
            self._owner.connection_ended(self, cause, "")

    def reset(self) -> None:
        """Abrupt end: the peer must not take it for the end of the data."""
        self._over = True
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._abandon()

    # --- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._over:
            self.reset()
            return
        self._transport.set_write_buffer_limits(high=self._write_buffer)
        if not self._endpoint.established:
            self._timer = self._loop.call_later(self._handshake_timeout, self._fail, Cause.HANDSHAKE_TIMEOUT, "")
        if isinstance(self._endpoint, YieldingEndpoint) and not self._endpoint.held:
            self._loop.call_later(self._endpoint.patience, self._begin, self._endpoint)
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._over:
            return
        now = self.last_received = self._loop.time()
        if self.policer is not None and self._endpoint.established:
            self._police(self.policer.debit(nbytes, now))
        self._endpoint.receive_data(self._buffer[:nbytes])
        self._advance()

    def eof_received(self) -> bool:
        if self._over:
            return False
        if not self._endpoint.established:
            self._fail(Cause.HANDSHAKE_CLOSED, "")
            return False
        self._peer_done = self._received_fin = True
        self._forward()
        return True

    def pause_writing(self) -> None:
        self._congested = True
        self._owner.connection_congested(self, True)
        if self._partner is not None:
            self._partner._choose_reading()

    def resume_writing(self) -> None:
        self._congested = False
        self._owner.connection_congested(self, False)
        if self._partner is not None:
            self._partner._forward()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        if self._policed is not None:
            self._policed.cancel()
        self._transport = None
        was_established = self._endpoint.established
        self._endpoint.discard()
        if self._over:
            return
        self._over = True
        if not was_established:
            cause = Cause.HANDSHAKE_CLOSED
        else:
            cause = Cause.PEER_CLOSED if self._peer_done and self._finished else Cause.RESET
        self._owner.connection_ended(self, cause, "")

    # --- inside ------------------------------------------------------------------------------------------------------

    def _begin(self, endpoint: YieldingEndpoint) -> None:
        if not self._over:
            endpoint.begin()
            self._advance()

    def _advance(self) -> None:
        """After the endpoint has taken something in."""
        self._flush()
        if self._endpoint.events:
            events = self._endpoint.events[:]
            self._endpoint.events.clear()
            for event in events:
                if isinstance(event, Established):
                    self._cancel_timer()
                    self._owner.connection_established(self, event)
                elif isinstance(event, Failed):
                    self._fail(event.cause, event.alert)
                    return
                else:
                    self._peer_done = True
        if self._endpoint.established:   # before that there is nothing to hand on, and no reason not to read
            self._forward()

    def _forward(self) -> None:
        """Hands what our peer sent to the partner, and then its end, as far as gates and the partner's peer allow."""
        partner = self._partner
        if (
            partner is not None and self._receives and partner._sends and not partner._congested
            and partner.established and not self._over
        ):  # fmt: skip
            data = self._endpoint.take_plain()
            if data:
                self.count.received += len(data)
                mapped = self._mapped(data)
                if mapped is None:
                    return
                if mapped:
                    partner._send(mapped)
            if self._peer_done and not partner._finished:
                partner._finish()
                self._close_if_done()
        self._choose_reading()

    def _mapped(self, data: bytes) -> bytes | None:
        """What of `data` goes on now; None: it is not what the gateway was told to read, and the connection is over."""
        if self._frames is None:
            return data
        try:
            return self._frames.feed_untrusted(data)
        except FrameError as error:
            self._fail(Cause.BAD_FRAME, error.what)
            return None

    def _police(self, wait: float) -> None:
        if wait > 0 and self._policed is None:
            self.count.policed += 1
            self._policed = self._loop.call_later(wait, self._paid)

    def _paid(self) -> None:
        self._policed = None
        self._choose_reading()

    def _choose_reading(self) -> None:
        transport = self._transport
        if transport is None or self._over or self._received_fin or transport.is_closing():
            return
        congested = self._partner is not None and self._partner._congested
        if congested or self._endpoint.pending or self._policed is not None:
            transport.pause_reading()
        elif not transport.is_reading():
            transport.resume_reading()

    def _send(self, data: bytes) -> None:
        self.last_sent = self._loop.time()
        self.count.sent += len(data)
        self._endpoint.send(data)
        self._advance_sent()

    def _finish(self) -> None:
        """Our side of the connection says its last: close_notify where there is TLS, then FIN."""
        if self._finished or self._transport is None:
            return
        self._finished = True
        self._endpoint.close()
        self._advance_sent()
        if not self._over:
            self._send_fin(self._transport)
            self._close_if_done()

    def _send_fin(self, transport: asyncio.Transport) -> None:
        self._sent_fin = True
        try:
            transport.write_eof()
        except OSError:
            # The peer reset the connection and the loop has not told us yet.
            transport.abort()

    def _close_if_done(self) -> None:
        if self._peer_done and self._finished and self._transport is not None:
            self._transport.close()

    def _advance_sent(self) -> None:
        self._flush()
        for event in self._endpoint.events:
            if isinstance(event, Failed):
                self._fail(event.cause, event.alert)
                break
        self._endpoint.events.clear()

    def _flush(self) -> None:
        data = self._endpoint.take_network()
        if data and self._transport is not None and not self._sent_fin:
            self._transport.write(data)

    def _fail(self, cause: Cause, alert: str) -> None:
        """Nothing passes any more. The alert has been written; the socket lingers so that a reset does not overtake it."""
        if self._over:
            return
        self._end()
        if self._transport is not None and not self._transport.is_closing():
            if not self._transport.is_reading():
                self._transport.resume_reading()
            self._send_fin(self._transport)
        self._owner.connection_ended(self, cause, alert)

    def _end(self) -> None:
        self._over = True
        self._cancel_timer()
        self._timer = self._loop.call_later(self._linger, self._abandon)

    def _abandon(self) -> None:
        self._over = True
        self._cancel_timer()
        if self._transport is not None:
            self._transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
