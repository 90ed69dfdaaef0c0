"""Groups of classes for the audit's table: those of WordNet for ImageNet-1k, a user's own, or each class by itself."""

import csv
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from inr_xai.data.labels import class_label, imagenet_index, imagenet_names
from inr_xai.errors import UserError

IMAGENET = 1000
"""Number of classes of ImageNet-1k."""
COLUMNS = ("class", "group")
HEAD = ", ".join(COLUMNS)


def class_groups(class_names: Sequence[str] | None, classes: int, file: Path | None = None) -> dict[int, str]:
    """Returns the group of each class, by class index.

    Args:
        classes: number of classes of the classifier.
        file: a CSV with the columns class (an index or a name) and group; classes that it does not name are `other`.

    Raises:
        UserError: the file cannot be read, or names a class that does not exist, that shares its name with another
            class, or that has another group already.
    """
    if file is not None:
        return _read_groups(file, class_names, classes)
    if classes == IMAGENET and _are_imagenet(class_names):
        text = files("inr_xai.audit").joinpath("wordnet_groups.csv").read_text()
        index = imagenet_index()
        return {index[row["wnid"]]: row["group"] for row in csv.DictReader(text.splitlines())}
    return {number: class_label(class_names, number) for number in range(classes)}


def _are_imagenet(class_names: Sequence[str] | None) -> bool:
    """Returns whether a thousand classes are ImageNet's, by their names or wnids; without names they are."""
    if class_names is None or list(class_names) == imagenet_names():
        return True
    index = imagenet_index()
    return all(name == str(number) or index.get(name) == number for number, name in enumerate(class_names))


def _read_groups(file: Path, class_names: Sequence[str] | None, classes: int) -> dict[int, str]:
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the groups {file} cannot be read ({error}); give a CSV with the columns {HEAD}") from error
    if not rows or not all(row.get(name) for row in rows for name in COLUMNS):
        raise UserError(f"{file} must be a CSV with the columns {HEAD}, both filled in every line")
    numbers_by_name: dict[str, set[int]] = {str(number): {number} for number in range(classes)}
    for number, name in enumerate((class_names or [])[:classes]):
        numbers_by_name.setdefault(name, set()).add(number)
    groups: dict[int, str] = {}
    for row in rows:
        if row["class"] not in numbers_by_name:
            raise UserError(f"{file} names the class {row['class']!r}, which the classifier does not have")
        number, *others = sorted(numbers_by_name[row["class"]])
        if others:
            listed = " and ".join(map(str, [number, *others]))
            raise UserError(
                f"{file} names {row['class']!r}, which may mean the classes {listed}; give numbers or names of one"
            )
        if groups.setdefault(number, row["group"]) != row["group"]:
            raise UserError(
                f"{file} puts the class {row['class']!r} into the groups {groups[number]!r} and {row['group']!r}"
            )
    return dict.fromkeys(range(classes), "other") | groups
