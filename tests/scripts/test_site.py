"""The site is made of the README and of docstrings: their links and doctests are as the site needs them."""

import pytest

from tests.helpers.scripts import script_module


def test_links_of_the_readme_are_those_of_the_site() -> None:
    text = "[a](docs/a.md#b), [c](CONTRIBUTING.md), [r](README.md), ![d](docs/figures/d.png), [e](https://e.org/docs/)"
    changed = "[a](a.md#b), [c](contributing.md), [r](index.md), ![d](figures/d.png), [e](https://e.org/docs/)"
    assert script_module("site_pages").in_site(text) == changed


def test_doctests_are_blocks_of_code() -> None:
    pytest.importorskip("griffe", reason="griffe (of the extra docs) reads the docstrings")
    with_blocks = script_module("site_docstrings").with_blocks
    text = "Adds.\n\n>>> 1 + 1\n2\n\nExample:\n    >>> 3\n    3\n    >>> 4\n    4"
    assert with_blocks(text) == (
        "Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nExample:\n    ```pycon\n    >>> 3\n    3\n    >>> 4\n    4\n    ```"
    )
    assert with_blocks("No doctest.") == "No doctest."


def test_arguments_that_share_a_description_have_it_each() -> None:
    pytest.importorskip("griffe", reason="griffe (of the extra docs) reads the docstrings")
    with_each_argument = script_module("site_docstrings").with_each_argument
    text = "Adds.\n\nArgs:\n    a, b: numbers,\n        of any size.\n    c: another, say: 3\n\nRaises:\n    E, F: no."
    assert with_each_argument(text) == (
        "Adds.\n\nArgs:\n    a: numbers,\n        of any size.\n    b: numbers,\n        of any size.\n"
        "    c: another, say: 3\n\nRaises:\n    E, F: no."
    )
    assert with_each_argument("None.") == "None."


def test_pictures_and_captions_are_left_out_of_the_wheel() -> None:
    pytest.importorskip("hatchling", reason="hatchling (of the extra dev) builds the wheel")
    without_pictures = script_module("wheel_readme").without_pictures
    assert without_pictures("A\n\n![A cat](cat.png)\n\n*Photo: me*\n\n**b** and *c*\n") == "A\n\n**b** and *c*\n"
