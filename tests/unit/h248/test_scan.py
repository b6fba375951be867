import pytest

from pcscf.h248.scan import SHORT, line_and_column, long_token, skip_lwsp, tokens_of, unquoted


def test_no_two_keywords_share_a_short_token() -> None:
    spellings = [spelling.lower() for pair in SHORT.items() for spelling in set(pair)]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize("spelling", ["LocalControl", "LOCALCONTROL", "localcontrol", "O", "o"])
def test_keywords_in_any_spelling(spelling: str) -> None:
    assert long_token(spelling) == "LocalControl"


def test_other_words_are_no_keywords() -> None:
    assert long_token("ipdc/realm") is None


def test_tokens() -> None:
    text = 'C = $ { ; comment\nO-W-S=ip/*/$,L { v=0 ; \\} }, x/y = "a ; b" # 1 }'
    assert [token for token in tokens_of(text) if token] == [
        "C", "= $", "{", "O-W-S", "=ip/*/$", ",", "L { v=0 ; \\} }", ",", "x/y", "= ", '"a ; b"', "#", "1", "}",
    ]  # fmt: skip


def test_a_value_is_never_taken_for_a_descriptor() -> None:
    assert [token for token in tokens_of("MF=L{E}") if token] == ["MF", "=L", "{", "E", "}"]


def test_the_end_is_a_token() -> None:
    assert tokens_of("}")[-1] == tokens_of("} ;x")[-1] == tokens_of("")[-1] == ""


@pytest.mark.parametrize(("token", "value"), [("=5", "5"), ("= \r\n5", "5"), ("= ; five\n5", "5"), ("=", ""), ("= ", "")])
def test_values_in_tokens(token: str, value: str) -> None:
    assert unquoted(token) == value


def test_white_space_is_skipped() -> None:
    assert skip_lwsp("a \t; b\r\n c", 1) == 9
    assert skip_lwsp("abc", 1) == 1


@pytest.mark.parametrize(("offset", "place"), [(0, (1, 1)), (1, (1, 2)), (3, (2, 1)), (5, (3, 1)), (7, (4, 1))])
def test_places(offset: int, place: tuple[int, int]) -> None:
    assert line_and_column("a\r\nb\rc\nd", offset) == place
