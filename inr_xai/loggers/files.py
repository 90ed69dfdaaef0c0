"""Sets of files at W&B, which calls them artifacts: copied there, or only referred to if they are many."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from inr_xai.runs.stored_images import MASKS_SUFFIX

if TYPE_CHECKING:
    import wandb

LARGE = 100_000_000
"""Bytes above which files are not uploaded: W&B gets their names, sizes and paths."""
STAGING = "WANDB_DATA_DIR"
Policy = Literal["immutable", "mutable"]


@dataclass(frozen=True)
class FileSet:
    """Files that belong together.

    Args:
        kind: what they are, which is W&B's type of the artifact and, with the id of the run, its name.
        files: name at W&B -> the file; one that is not there is left out.
        metadata: plain values.
        labels: by which this version is found, beside `latest`.
    """

    kind: str
    files: Mapping[str, Path]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()

    @property
    def aliases(self) -> list[str]:
        """W&B's aliases, in which it allows few signs."""
        return ["latest", *(allowed_name(label) for label in self.labels if allowed_name(label))]

    def at_wandb(self, run_id: str) -> "wandb.Artifact":
        """Returns the artifact of a run. Large ones hold references, for which no file is read."""
        import wandb

        files = {name: file for name, file in self.files.items() if file.is_file()}
        size = sum(file.stat().st_size for file in files.values())
        facts = {**self.metadata, "files": len(files), "bytes": size, "by_reference": size > LARGE}
        artifact = wandb.Artifact(allowed_name(f"{self.kind}-{run_id}"), type=self.kind, metadata=facts)
        for name, file in files.items():
            if size > LARGE:
                artifact.add_reference(file.absolute().as_uri(), name=name, checksum=False)
            else:
                # Masks files never change, so that W&B needs no copies of them until they are uploaded.
                policy: Policy = "immutable" if file.suffix == MASKS_SUFFIX else "mutable"
                artifact.add_file(str(file), name=name, policy=policy)
        return artifact


def allowed_name(name: str) -> str:
    """Returns a name with the signs alone that W&B allows in names and aliases.

    >>> allowed_name("seed=0,inr=siren/a b")
    'seed=0,inr=siren-a-b'
    """
    return re.sub(r"[^\w.=,+-]+", "-", name).strip("-")[:128]


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """A context in which W&B copies the pictures of tables into the run's own folder.

    Else they would lie in the user's home until the run is uploaded, and be lost with it.
    """
    before = os.environ.get(STAGING)
    os.environ[STAGING] = str(folder)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(STAGING, None)
        else:
            os.environ[STAGING] = before
