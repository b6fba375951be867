import pytest

from pcscf.h248.mid import address_of_mid, is_mid, mid_of_address


@pytest.mark.parametrize(
    ("host", "port", "mid"),
    [
        ("192.0.2.1", 2944, "[192.0.2.1]:2944"),
        ("192.0.2.1", None, "[192.0.2.1]"),
        ("2001:db8::1", 2944, "[2001:db8::1]:2944"),
        ("agw.example.net", 2944, "<agw.example.net>:2944"),
        ("10.example", None, "<10.example>"),
    ],
)
def test_addresses_and_identifiers(host: str, port: int | None, mid: str) -> None:
    assert mid_of_address(host, port) == mid
    assert is_mid(mid)
    assert address_of_mid(mid) == (host, port or 2944)


@pytest.mark.parametrize("mid", ["agw/1", "MTP{00ff}", "*agw@example.net"])
def test_some_identifiers_name_no_address(mid: str) -> None:
    assert is_mid(mid)
    assert address_of_mid(mid) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "[192.0.2.256]",
        "[1::2::3]",
        "[192.0.2.1]:65536",
        "[192.0.2.1]:",
        "<-a>",
        "1agw",
        "a" * 65,
        "agw/1 x",
        "MTP{xy}",
    ],
)
def test_what_is_no_identifier(text: str) -> None:
    assert not is_mid(text)
