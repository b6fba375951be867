"""Bindings and sessions in this process's memory, found by every key that procedures ask for."""

from __future__ import annotations

from typing import Final, TypeVar

from pcscf.iq.media import Media
from pcscf.procedures.binding import Binding
from pcscf.procedures.session import Session, State
from pcscf.sip.flow import Flow

Key = TypeVar("Key", Flow, str)

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_ENDED: Final = State.ENDED


class MemoryStore:
    """The store port in dictionaries. What it holds is gone with the process."""

    def __init__(self) -> None:
        self._bindings: dict[str, Binding] = {}
        self._flow_of: dict[str, Flow] = {}
        self._on_flow: dict[Flow, dict[str, None]] = {}
        self._sessions: dict[str, Session] = {}
        self._live: set[str] = set()
        self._filed: dict[str, tuple[Session, Media | None, State]] = {}
        self._of_binding: dict[str, dict[str, None]] = {}
        self._in_context: dict[tuple[str, int], str] = {}
        self._contexts: dict[str, tuple[str, int]] = {}

    def binding(self, token: str) -> Binding | None:
        return self._bindings.get(token)

    def bindings_on(self, flow: Flow) -> list[Binding]:
        return [self._bindings[token] for token in self._on_flow.get(flow, ())]

    def bindings(self) -> list[Binding]:
        return list(self._bindings.values())

    def binding_count(self) -> int:
        return len(self._bindings)

    def save_binding(self, binding: Binding) -> None:
        self.drop_binding(binding.token)
        self._bindings[binding.token] = binding
        self._flow_of[binding.token] = binding.flow
        self._on_flow.setdefault(binding.flow, {})[binding.token] = None

    def drop_binding(self, token: str) -> None:
        if self._bindings.pop(token, None) is not None:
            _discard(self._on_flow, self._flow_of.pop(token), token)

    def session(self, token: str) -> Session | None:
        return self._sessions.get(token)

    def sessions(self) -> list[Session]:
        return list(self._sessions.values())

    def session_count(self) -> int:
        return len(self._live)

    def sessions_of(self, binding_token: str) -> list[Session]:
        return [self._sessions[token] for token in self._of_binding.get(binding_token, ())]

    def session_in(self, gateway: str, context: int) -> Session | None:
        return self._sessions.get(self._in_context.get((gateway, context), ""))

    def save_session(self, session: Session) -> None:
        token = session.token
        filed = self._filed.get(token)
        if filed is not None and filed[0] is session and filed[1] is session.media and filed[2] is session.state:
            return   # nothing that it is found by or counted by has changed
        self._filed[token] = session, session.media, session.state
        self._sessions[token] = session
        (self._live.add if session.state is not _ENDED else self._live.discard)(token)
        self._of_binding.setdefault(session.binding, {})[token] = None
        here = (session.media.gateway, session.media.context) if session.media is not None else None
        if self._contexts.get(token) != here:
            self._leave_context(token)
            if here is not None:
                self._in_context[here] = token
                self._contexts[token] = here

    def drop_session(self, token: str) -> None:
        session = self._sessions.pop(token, None)
        if session is None:
            return
        self._live.discard(token)
        del self._filed[token]
        _discard(self._of_binding, session.binding, token)
        self._leave_context(token)

    def _leave_context(self, token: str) -> None:
        """A gateway that came anew may have given the same context to another session by now: that one keeps it."""
        context = self._contexts.pop(token, None)
        if context is not None and self._in_context.get(context) == token:
            del self._in_context[context]


def _discard(index: dict[Key, dict[str, None]], key: Key, token: str) -> None:
    tokens = index.get(key)
    if tokens is not None:
        tokens.pop(token, None)
        if not tokens:
            del index[key]
