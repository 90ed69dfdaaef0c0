"""File names from image ids: the id itself wherever it can be a name, else a short form of it with a hash."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

ASIDE = ".writing-"
"""How the name of a file begins that is not whole yet; then it says which process writes it."""
MOST_BYTES = 255
"""What file systems allow for one name."""
HASHED = re.compile(r"~[0-9a-f]{32}$")


def id_file(root: Path, image_id: str, suffix: str) -> Path:
    """Returns the path below `root` of a file that belongs to an image; two ids never have the same.

    It is `<root>/<id><suffix>`, unless the id is no relative path of names that every file system takes, or could meet
    the files of another id. Then a hash of the id stands in for it.

    Args:
        suffix: how the name ends, such as ".png" or ".evolution.k1.png".

    >>> id_file(Path("masks"), "dogs/a.b", ".safetensors").as_posix()
    'masks/dogs/a.b.safetensors'
    >>> id_file(Path("masks"), "../a", ".safetensors").as_posix()
    'masks/a~61b4c98bfb92bdc9391613020e5b8cbf.safetensors'
    """
    plain = root / f"{image_id}{suffix}"
    if _can_be_a_path(image_id, suffix) and (not _may_meet_another(image_id, suffix) or plain.is_file()):
        return plain
    return root / f"{hashed_name(image_id)}{suffix}"


def flat_id_file(root: Path, image_id: str, suffix: str) -> Path:
    """Does the same without folders below `root`: two underscores stand for a slash.

    >>> flat_id_file(Path("maps"), "dogs/a.b", ".npy").as_posix()
    'maps/dogs__a.b.npy'
    """
    if re.search("__|_/|/_", image_id) is not None:  # another id may have the same name
        return root / f"{hashed_name(image_id)}{suffix}"
    return id_file(root, image_id.replace("/", "__"), suffix)


def id_of_name(name: str) -> str | None:
    """Returns the id of a file, given its path below the root without the suffix; None if that has a hash instead."""
    return None if HASHED.search(name) else name


def files_below(root: Path, *suffixes: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yields the files whose names end with one of `suffixes`: the path below `root`, with slashes, and the entry.

    Files that are not whole yet are left out. An entry's `stat()` raises FileNotFoundError if its file goes meanwhile.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            name = f"{folder}{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                elif name.endswith(suffixes) and not entry.name.startswith(ASIDE) and entry.is_file():
                    yield name, entry
            except FileNotFoundError:
                continue


def hashed_name(image_id: str) -> str:
    """Returns a short form of an id with a hash of all of it, which is a name for a file."""
    from inr_xai.seeding import sha256  # late: it brings torch

    short = re.sub(r"[^\w.-]", "_", image_id.rpartition("/")[2])[:40].lstrip(".")
    return f"{short}~{sha256(image_id.encode(errors='surrogatepass')).hexdigest()[:32]}"


def _can_be_a_path(image_id: str, suffix: str) -> bool:
    """Returns whether an id with a suffix is a path that stays below its root, and that says the same in one way."""
    names = image_id.split("/")
    try:
        sizes = [len(name.encode()) for name in (*names[:-1], names[-1] + suffix)]
    except UnicodeEncodeError:
        return False
    whole = all(name not in ("", ".", "..") and not name.startswith(ASIDE) and "\0" not in name for name in names)
    return whole and max(sizes) <= MOST_BYTES and not Path(image_id).drive


def _may_meet_another(image_id: str, suffix: str) -> bool:
    """Returns whether a file of another id may stand where this one's would, or where its folder would."""
    *folders, name = image_id.split("/")
    ending = suffix[suffix.rindex(".") :]
    of_another = re.search(r"\.evolution\.k\d+$", name) is not None and suffix == ".png"
    return of_another or HASHED.search(name) is not None or any(folder.endswith(ending) for folder in folders)
