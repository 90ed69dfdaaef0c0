"""Texts fit their places, whatever they hold."""

import pytest

from inr_xai.figures.text import first_that_fits, printable, shortened, width_of, wrapped


@pytest.mark.parametrize(
    "text", ["tench", "black widow, Latrodectus mactans", "W" * 200, "a\tb\nc", "日本語" * 40, "$x_{"]
)
def test_a_shortened_text_is_no_wider_than_its_place(text: str) -> None:
    for inches in (0.5, 1.0, 2.0):
        cut = shortened(text, inches, 7.5)
        assert width_of(cut, 7.5) <= inches
        assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))
    assert shortened(text, 100.0, 7.5) == text


def test_a_cut_takes_no_more_than_it_must() -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    cut = shortened(text, 1.0, 8.0)
    assert width_of(text[: len(cut)] + "…", 8.0) > 1.0


def test_text_grows_with_its_size_and_weight() -> None:
    assert width_of("tench", 16) == pytest.approx(2 * width_of("tench", 8), rel=0.02)
    assert width_of("tench", 8, bold=True) > width_of("tench", 8)


def test_letters_that_the_font_lacks_have_a_mark() -> None:
    assert printable("ein/Straße $x$ é…") == "ein/Straße $x$ é…"
    assert printable("a\n\ud800日\u202e") == "a" + "\N{REPLACEMENT CHARACTER}" * 4


def test_the_longest_name_that_fits_is_taken_and_lines_are_wrapped() -> None:
    names = ["a long name of it", "a name", "x"]
    assert first_that_fits(names, 3.0, 8) == names[0]
    assert first_that_fits(names, width_of("a name", 8), 8) == "a name"
    assert first_that_fits(["abcdefghi"], 0.3, 8) == shortened("abcdefghi", 0.3, 8)
    text = "one two three four five six seven"
    lines = wrapped(text, 1.0, 7)
    assert " ".join(lines) == text
    assert len(lines) > 1
    assert max(width_of(line, 7) for line in lines) <= 1.0
