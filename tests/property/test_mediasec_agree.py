"""Security-* lists: any text fails in the documented way, and what was sent verifies, altered never."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import MalformedMessage
from pcscf.mediasec.agree import (
    Verdict,
    client_media_mechanisms,
    parse_mechanisms_untrusted,
    server_list,
    verify,
)

NAMES = st.sampled_from(["msrp-tls", "bfcp-tls", "udptl-dtls", "sdes-srtp", "dtls-srtp"])
SIGNALLING = st.sampled_from(["tls", "ipsec-3gpp;spi-c=1;spi-s=2", 'digest;d-ver="a,b;c"'])
SENT = st.builds(
    lambda signalling, media: [*signalling, *server_list(media)],
    st.lists(SIGNALLING, max_size=2, unique=True),
    st.lists(NAMES, min_size=1, unique=True),
)


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_fails_in_the_documented_way(values: list[str]) -> None:
    with contextlib.suppress(MalformedMessage):
        client_media_mechanisms(parse_mechanisms_untrusted(values))


@given(SENT, st.booleans())
def test_what_was_sent_matches_in_lines_and_in_one_list(sent: list[str], joined: bool) -> None:
    assert verify([", ".join(sent)] if joined else sent, sent) is Verdict.MATCH


@given(SENT, st.data())
def test_an_alteration_never_matches(sent: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(sent) - 1))
    kind = data.draw(st.sampled_from(["remove", "duplicate", "add a parameter"]))
    altered = list(sent)
    if kind == "remove":
        del altered[place]
    elif kind == "duplicate":
        altered.insert(place, sent[place])
    else:
        altered[place] += ";x=1"
    assert verify(altered, sent) in {Verdict.ALTERED, Verdict.MEDIA_PART_MISSING}
