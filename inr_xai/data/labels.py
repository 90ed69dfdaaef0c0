"""The class of a photo, from ImageNet's wnids in its path or from an index file; and checks of the options of data."""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from inr_xai.data.files import read_text
from inr_xai.errors import UserError

WNID = re.compile(r"(?:^|(?<=_))n\d{8}(?=_|$)")
POLICIES = ("label", "predicted", "wrong")
MOST_CLASSES = 1_000_000


@cache
def imagenet_index() -> dict[str, int]:
    """Returns the class index of each of the 1,000 wnids of ImageNet-1k, which is its rank among all of them.

    >>> imagenet_index()["n01440764"], imagenet_index()["n15075141"]
    (0, 999)
    """
    from timm.data.imagenet_info import ImageNetInfo  # takes seconds, and only photos need it

    return {wnid: index for index, wnid in enumerate(ImageNetInfo("imagenet-1k").label_names())}


@cache
def imagenet_names() -> list[str]:
    """Returns a readable name for each class of ImageNet-1k."""
    from timm.data.imagenet_info import ImageNetInfo

    return [str(name) for name in ImageNetInfo("imagenet-1k").label_descriptions()]


def imagenet_label(path: PurePosixPath) -> int | None:
    """Returns the class of a photo by its path below the root: the nearest wnid folder, or a wnid in the file name."""
    index = imagenet_index()
    for folder in reversed(path.parent.parts):
        if folder in index:
            return index[folder]
    match = WNID.search(path.stem)
    return None if match is None else index.get(match.group())


def folder_label(path: PurePosixPath, classes: dict[str, int]) -> int | None:
    """Returns the class of a photo by its nearest folder that `classes` names; None if there is no such folder."""
    return next((classes[folder] for folder in reversed(path.parent.parts) if folder in classes), None)


def read_classes(file: str | Path) -> dict[str, int]:
    """Returns folder name -> class index.

    A text file names one folder per line, whose index is the line number from 0; a .json file gives the indices itself.
    Raises UserError if the file cannot be read or is not of this form.
    """
    path = Path(file).expanduser()
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.classes={str(file)!r} cannot be read ({error}); give a text file of folder names, one a line"
        ) from error
    classes = from_json(text, path) if path.suffix.lower() == ".json" else from_lines(text, path)
    if not classes:
        raise UserError(f"data.classes={str(file)!r} names no folder; write one folder name a line")
    return classes


def from_lines(text: str, path: Path) -> dict[str, int]:
    """Returns folder -> line number, from 0. A gap or a repeated name would shift all later classes: UserError."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    classes: dict[str, int] = {}
    for index, name in enumerate(lines):
        if not name or name in classes:
            reason = f"repeats {name!r} of line {classes[name] + 1}" if name else "is empty"
            raise UserError(
                f"line {index + 1} of data.classes={str(path)!r} {reason}; write one folder name a line, once"
            )
        classes[name] = index
    return classes


def from_json(text: str, path: Path) -> dict[str, int]:
    """Returns the folder names and class indices of a JSON object. Raises UserError for anything else."""
    shape = 'write {"folder": index, ...} with whole numbers from 0'
    try:
        classes = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"data.classes={str(path)!r} is not JSON ({error}); {shape}") from error
    if not isinstance(classes, dict):
        raise UserError(f"data.classes={str(path)!r} holds a {type(classes).__name__}; {shape}")
    for folder, index in classes.items():
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < MOST_CLASSES:
            raise UserError(f"data.classes={str(path)!r} gives folder {folder!r} the index {index!r}; {shape}")
    return classes


def names_by_index(classes: dict[str, int]) -> list[str]:
    """Returns the folder of each class index, or the index itself if no folder has it.

    >>> names_by_index({"cat": 2, "dog": 0})
    ['dog', '1', 'cat']
    """
    folders = {index: folder for folder, index in reversed(classes.items())}
    return [folders.get(index, str(index)) for index in range(max(folders) + 1)]


def class_label(class_names: Sequence[str] | None, index: int) -> str:
    """Returns the class's readable name, or its index if it has no name.

    >>> class_label(["disc"], 0), class_label(["disc"], 1), class_label(None, 0)
    ('disc', 'class 1', 'class 0')
    """
    return class_names[index] if class_names and index < len(class_names) else f"class {index}"


def parse_targets(targets: object) -> str | int:
    """Returns the policy "label", "predicted" or "wrong", or a class index, which may be given as text.

    >>> parse_targets("207"), parse_targets("label")
    (207, 'label')
    """
    if isinstance(targets, str) and re.fullmatch(r"[0-9]+", targets.strip()):
        return int(targets)
    if isinstance(targets, str) and targets in POLICIES:
        return targets
    if isinstance(targets, int) and not isinstance(targets, bool) and targets >= 0:
        return targets
    raise UserError(f"data.targets={targets!r} is not allowed; choose label, predicted, wrong or a class index from 0")


def check_selection(*, limit: object, every: object) -> None:
    """Raises UserError unless `limit` is None or at least 1 and `every` at least 1."""
    if limit is not None and not is_count(limit):
        raise UserError(f"data.limit={limit!r} is not allowed; give a whole number from 1, or null for all")
    if not is_count(every):
        raise UserError(f"data.every={every!r} is not allowed; give a whole number from 1")


def is_count(value: object) -> bool:
    """Returns whether the value is a whole number, at least 1; True is not one."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
