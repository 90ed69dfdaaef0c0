"""Groups of classes, by which an audit sums up: those of WordNet for ImageNet-1k, a user's own, or each class alone."""

import csv
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from inr_xai.data.labels import imagenet_index
from inr_xai.errors import UserError

IMAGENET = 1000
COLUMNS = ("class", "group")
HEAD = ", ".join(COLUMNS)


def named(class_names: Sequence[str] | None, number: int) -> str:
    """The class's readable name, or its number.

    >>> named(["disc"], 0), named(["disc"], 1), named(None, 0)
    ('disc', 'class 1', 'class 0')
    """
    return class_names[number] if class_names and number < len(class_names) else f"class {number}"


def groups_of(class_names: Sequence[str] | None, classes: int, file: Path | None = None) -> dict[int, str]:
    """Class index -> its group.

    Args:
        file: a CSV with the columns class (an index or a name) and group; classes that it does not name are `other`.

    Raises:
        UserError: the file cannot be read, or names a class that does not exist.
    """
    if file is not None:
        return _from_file(file, class_names, classes)
    if classes == IMAGENET:
        text = files("inr_xai.auditing").joinpath("wordnet_groups.csv").read_text()
        index = imagenet_index()
        return {index[row["wnid"]]: row["group"] for row in csv.DictReader(text.splitlines())}
    return {number: named(class_names, number) for number in range(classes)}


def _from_file(file: Path, class_names: Sequence[str] | None, classes: int) -> dict[int, str]:
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the groups {file} cannot be read ({error}); give a CSV with the columns {HEAD}") from error
    if not rows or not all(row.get(name) for row in rows for name in COLUMNS):
        raise UserError(f"{file} must be a CSV with the columns {HEAD}, both filled in every line")
    known = {name: number for number, name in enumerate(class_names or []) if number < classes}
    known |= {str(number): number for number in range(classes)}
    several = {name for name, count in Counter(class_names).items() if count > 1}
    for row in rows:
        if row["class"] not in known:
            raise UserError(f"{file} names the class {row['class']!r}, which the classifier does not have")
        if row["class"] in several:
            raise UserError(f"{file} names {row['class']!r}, which several classes are called; give their numbers")
    groups = dict.fromkeys(range(classes), "other")
    return groups | {known[row["class"]]: row["group"] for row in rows}
