"""The code of the README and of the pages in docs/: its blocks, and the reasons why some of them are not run."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- not run: (?P<why>.*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `why` says why it is not run, and is empty if it is."""

    page: str
    language: str
    code: str
    why: str


def blocks_of(text: str, page: str = "") -> list[Block]:
    """Returns the blocks of a page's text, in their order.

    >>> blocks_of("<!-- not run: no network -->\\n```bash\\nmake\\n```\\n")
    [Block(page='', language='bash', code='make\\n', why='no network')]
    """
    return [Block(page, found["language"], found["code"], found["why"] or "") for found in FENCE.finditer(text)]


BLOCKS = [block for page in PAGES for block in blocks_of(page.read_text(), page.relative_to(ROOT).as_posix())]


def commands_of(block: Block) -> list[str]:
    """Returns the command lines of a block without their comments; a line that ends in a backslash goes on."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"(^|\s+)# .*", "", line).strip())]
