"""A hook of MkDocs: README.md is the first page of the site and CONTRIBUTING.md another, so no text stands twice."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OF_THE_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CITATION.cff": "CITATION.cff"}
"""Files beside docs/ that the site has, and their places in it."""


def on_files(files: Any, config: Any) -> Any:
    """Adds the files of the root to those of docs/."""
    from mkdocs.structure.files import File

    for name, place in OF_THE_ROOT.items():
        files.append(File.generated(config, place, content=in_site((ROOT / name).read_text())))
    return files


def in_site(text: str) -> str:
    """Returns a page of the root with the links that it has in the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    for name, place in OF_THE_ROOT.items():
        text = text.replace(f"]({name}", f"]({place}")
    return text
