import pytest

from pcscf.h248 import packages


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("tcpbcc/EstBNC", packages.TCP_ESTABLISH),
        ("TCPBCC/ESTBNC", packages.TCP_ESTABLISH),
        ("tcp/establish", packages.TCP_ESTABLISH),
        ("tls/estbnc", packages.TLS_ESTABLISH),
        ("DTLS/BNCCHANGE", packages.DTLS_CHANGE),
        ("tlsbsc/bncchange", packages.TLS_CHANGE),
        ("G/Cause", packages.CAUSE),
        ("hangterm/THB", packages.HANGING_TERMINATION),
        ("IPDC/Realm", packages.REALM),
        ("ipnapt/LATCH", packages.LATCH),
        ("IT/ITO", packages.INACTIVITY),
        ("root/mgoriginatedpendinglimit", packages.MG_PENDING_LIMIT),
        ("DS/unheard-of", "ds/unheard-of"),
        ("seplk/x", "seplink/x"),
        ("xyz/Foo", "xyz/Foo"),
        ("Stream", "Stream"),
    ],
)
def test_one_spelling_for_all(written: str, name: str) -> None:
    assert packages.canonical(written) == name


def test_our_own_names_are_canonical() -> None:
    names = [value for value in vars(packages).values() if isinstance(value, str) and value.count("/") == 1 and " " not in value]
    names = [name for name in names if packages.is_supported(name)]
    assert packages.TLS_RELEASE in names
    assert [packages.canonical(name.upper()) for name in names] == names


def test_no_alias_means_two_things() -> None:
    spellings = [spelling.lower() for package in packages.PACKAGES for spelling in (package.name, *package.aliases)]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(
    ("name", "supported", "package"), [("TLS/x", True, "tlsbsc"), ("al/of", False, "al"), ("AL/of", False, "al")]
)
def test_packages_of_names(name: str, supported: bool, package: str) -> None:
    assert packages.is_supported(name) is supported
    assert packages.package_of(name) == package


@pytest.mark.parametrize(
    ("fingerprint", "asked"),
    [
        ("sha-256 $", "sha-256"),
        ("SHA-512 $", "sha-512"),
        ("$", "sha-256"),
        ("$ $", "sha-256"),
        ("- $", "sha-256"),
        (" sha-1  $ ", "sha-1"),
        ("sha-256 AA:BB", None),
        ("sha-256$", None),
        ("", None),
    ],
)
def test_requests_for_a_fingerprint(fingerprint: str, asked: str | None) -> None:
    assert packages.requested_hash(fingerprint) == asked


def test_the_line_that_asks_is_itself_a_request() -> None:
    assert packages.requested_hash(packages.FINGERPRINT_REQUEST.removeprefix("a=fingerprint:")) == packages.DEFAULT_HASH
