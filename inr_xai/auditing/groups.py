"""Groups of classes, by which an audit sums up: those of WordNet for ImageNet-1k, a user's own, or each class alone."""

import csv
from importlib.resources import files
from pathlib import Path

from inr_xai.data.labels import imagenet_index
from inr_xai.errors import UserError

IMAGENET = 1000
COLUMNS = ("class", "group")


def groups_of(class_names: list[str] | None, classes: int, file: Path | None = None) -> dict[int, str]:
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
    return {number: class_names[number] if class_names else f"class {number}" for number in range(classes)}


def _from_file(file: Path, class_names: list[str] | None, classes: int) -> dict[int, str]:
    try:
        rows = list(csv.DictReader(file.read_text().splitlines()))
    except OSError as error:
        raise UserError(f"the groups {file} cannot be read ({error.strerror})") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise UserError(f"{file} must be a CSV with the columns {', '.join(COLUMNS)}")
    known = {name: number for number, name in enumerate(class_names or [])}
    known |= {str(number): number for number in range(classes)}
    for row in rows:
        if row["class"] not in known:
            raise UserError(f"{file} names the class {row['class']!r}, which the classifier does not have")
    groups = dict.fromkeys(range(classes), "other")
    return groups | {known[row["class"]]: row["group"] for row in rows}
