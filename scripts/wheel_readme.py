"""The long description of the wheel: README.md without its pictures, which the wheel lacks. Run by hatchling."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Readme(MetadataHookInterface):
    """Hatchling's hook that says the project's `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Adds the long description to the metadata of the project."""
        text = without_pictures((Path(self.root) / "README.md").read_text())
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def without_pictures(text: str) -> str:
    """Returns a page without its pictures and without the captions below them."""
    return re.sub(r"^!\[.*\]\(.*\)\n\n(?:\*[^*].*\*\n\n)?", "", text, flags=re.M)
