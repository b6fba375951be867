from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from pcscf.observe.log import REDACTED, redact, set_up


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def written(level: Literal["debug", "info", "warning", "error"] = "info", **values: Any) -> dict[str, Any]:
    stream = io.StringIO()
    set_up(level, "json", stream)
    structlog.get_logger().info("event", **values)
    read: dict[str, Any] = json.loads(stream.getvalue())
    return read


def test_a_json_record() -> None:
    record = written(call="c1", count=3)
    assert (record["event"], record["level"], record["call"], record["count"]) == ("event", "info", "c1", 3)
    assert record["timestamp"].endswith("Z")


def test_records_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    set_up("warning", "json", stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_console_records_are_one_line() -> None:
    stream = io.StringIO()
    set_up("info", "console", stream)
    structlog.get_logger().info("registered", identity="sip:alice@ims.example")
    assert stream.getvalue().count("\n") == 1
    assert "sip:alice@ims.example" in stream.getvalue()


@pytest.mark.parametrize(
    "key",
    ["Authorization", "Proxy-Authorization", "proxy_authorization", "ck", "IK", "private_key", "body", "password"],
)
def test_secrets_are_dropped_by_name(key: str) -> None:
    assert redact(None, "", {key: "s3cret"})[key] == REDACTED
    assert redact(None, "", {"deep": {key: "s3cret"}})["deep"][key] == REDACTED
    assert "s3cret" not in str(redact(None, "", {"headers": [("Via", "x"), (key, "s3cret")]}))


@pytest.mark.parametrize(
    "text",
    [
        'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest response="s3cret"\r\nVia: y\r\n',
        'proxy-authorization :\tDigest a="b",\r\n  response="s3cret"\r\nVia: y',
        "Authentication-Info: s3cret",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:s3cret",
        "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\ns3cret",
    ],
)
def test_credentials_inside_texts_are_cut_out(text: str) -> None:
    record = str(redact(None, "", {"event": text, "nested": [{"text": text}]}))
    assert "s3cret" not in record
    assert REDACTED in record
    assert ("Via: y" in record) == ("Via: y" in text)


def test_octets_are_only_counted() -> None:
    assert redact(None, "", {"packet": b"12345"})["packet"] == "[5 octets]"


def test_harmless_values_stay() -> None:
    record = {"event": "x", "status": 200, "pair": ("a", "b"), "none": None}
    assert redact(None, "", dict(record)) == {**record, "pair": ["a", "b"]}


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_exception_shows_no_variables_and_no_credentials(form: Literal["console", "json"]) -> None:
    stream = io.StringIO()
    set_up("info", form, stream)
    hidden = "variable-of-a-frame"
    message = f"cannot read\nAuthorization: Digest response={'abc' + 'def'}"
    try:
        raise ValueError(message)
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "abcdef" not in stream.getvalue()
    assert hidden not in stream.getvalue()
