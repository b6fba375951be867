from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.procedures.token import MAGIC_COOKIE, TokenKind, Tokens, has_looped, loop_hash
from pcscf.sip.message import Request
from tests.unit.procedures.desk import request


def counting() -> Callable[[int], bytes]:
    counter = itertools.count(250)
    return lambda size: next(counter).to_bytes(size, "big")


def is_ours(host: str, port: int) -> bool:
    return (host, port) == ("198.51.100.1", 5070)


@pytest.mark.parametrize("kind", list(TokenKind))
def test_a_token_tells_its_kind(kind: TokenKind) -> None:
    tokens = Tokens(b"secret", counting())
    assert tokens.kind_untrusted(tokens.make(kind)) is kind


def test_tokens_differ_and_fit_a_user_part() -> None:
    tokens = Tokens(b"secret", counting(), worker="7")
    made = {tokens.make(TokenKind.SESSION) for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("s7") and each.replace("-", "").replace("_", "").isalnum() for each in made)


@given(st.integers(0, 25), st.characters(codec="utf-8"), st.sampled_from(TokenKind))
def test_a_token_with_another_character_is_not_ours(place: int, character: str, kind: TokenKind) -> None:
    tokens = Tokens(b"secret", lambda size: b"\xfb\xef\xbe\xff" * 2 + b"\xfb\xff" if size == 10 else b"")
    token = tokens.make(kind)
    altered = token[:place] + character + token[place + 1:]
    assert tokens.kind_untrusted(altered) is (kind if altered == token else None)


@given(st.text())
def test_no_text_is_a_token_by_accident(text: str) -> None:
    assert Tokens(b"secret", counting()).kind_untrusted(text) is None


def test_a_token_under_another_secret_is_foreign() -> None:
    foreign = Tokens(b"another secret", counting()).make(TokenKind.BINDING)
    assert Tokens(b"secret", counting()).kind_untrusted(foreign) is None


def test_a_token_cannot_change_its_worker_or_its_length() -> None:
    tokens = Tokens(b"secret", counting(), worker="1")
    token = tokens.make(TokenKind.SESSION)
    for altered in (f"s2{token[2:]}", token[:-1], token + "A", f"{token}=", f" {token}", f"{token}\n"):
        assert tokens.kind_untrusted(altered) is None


def test_a_branch_carries_cookie_hash_and_token_and_is_never_the_same() -> None:
    tokens = Tokens(b"secret", counting())
    token = tokens.make(TokenKind.SESSION)
    one, other = tokens.branch(token, "0123456789ab"), tokens.branch(token, "0123456789ab")
    assert one != other
    assert one.startswith(f"{MAGIC_COOKIE}0123456789ab.{token}.")
    assert tokens.tag() != tokens.tag()


def came_back(*lines: str, uri: str = "sip:bob@ims.example") -> Request:
    """The same request with a Via of ours below that of a proxy behind us."""
    first = request()
    again = request(*lines, uri=uri)
    again.prepend("Via", f"SIP/2.0/UDP 198.51.100.1:5070;branch={MAGIC_COOKIE}{loop_hash(first)}.s0.01")
    again.prepend("Via", "SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKother")
    return again


def looped(message: Request) -> bool:
    return has_looped(message, loop_hash(message), is_ours)


def test_a_loop_is_found() -> None:
    assert looped(came_back())


@pytest.mark.parametrize("again", [
    came_back(uri="sip:carol@ims.example"),
    came_back("Route: <sip:as@198.51.100.3;lr>"),
    came_back("Proxy-Require: foo"),
    came_back("Proxy-Authorization: Digest nonce=1"),
])
def test_a_spiral_is_not_a_loop(again: Request) -> None:
    assert not looped(again)


def test_what_never_passed_us_has_not_looped() -> None:
    assert not looped(request())
    again = came_back()
    assert not has_looped(again, loop_hash(again), lambda _host, _port: False)


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
def test_the_hash_covers_the_dialog_and_the_transaction(name: str) -> None:
    first, second = request(), request()
    second.set(name, {"From": "<sip:a@b>;tag=z", "To": "<sip:a@b>;tag=z", "Call-ID": "z", "CSeq": "9 MESSAGE"}[name])
    assert loop_hash(first) != loop_hash(second)


def test_the_hash_does_not_cover_what_changes_on_the_way() -> None:
    first, second = request(), request(hops="69")
    second.prepend("Via", "SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKother")
    second.add("Record-Route", "<sip:198.51.100.9;lr>")
    assert loop_hash(first) == loop_hash(second)
