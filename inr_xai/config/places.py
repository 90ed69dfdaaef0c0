"""Whether a folder can be made where an option says, and whether the files are there: asked before anything is made."""

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inr_xai.errors import UserError

FOLDERS = ("root", "segmentations")
FILES = {
    "classes": "a text file of names, one a line",
    "annotations": "a JSON file of instances",
    "categories": "a text file of wnids",
    "photos": "a JSON file of photos",
    "checkpoint": "a local .safetensors or .pth file",
}
"""Arguments that name a folder to read, and those that name a file, with what it holds."""
GROUPS = ("data", "classifier")
CLASSES = ("voc", "imagenet")
"""What `data.classes` says for VOC, of which it names no file."""
OF_PHOTOS = ("inr_xai.data.ImageFolder",)
"""What takes a photo for `root` too."""
LONGEST, SHOWN = 3_500, 100
"""Bytes of a path that leave room for the names of a run's files; characters of a path in a message."""


def check_place(path: str, key: str) -> None:
    """Raises UserError unless `path` is a folder in which files can be made, or can become one.

    A folder with a name of its own is made and removed again, in the folder above that is there: permissions alone do
    not tell whether it works.
    """
    if not path.strip() or not path.isprintable():
        raise UserError(f"{key}={path!r} is no place for a folder; give a path of printable characters")
    place = Path(path).expanduser().absolute() if path.startswith("~") else Path(path).absolute()
    try:
        above = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
        missing = place.relative_to(above).parts
        longest = max((len(os.fsencode(part)) for part in missing), default=0)
        if longest > os.pathconf(above, "PC_NAME_MAX") or len(os.fsencode(place)) > LONGEST:
            raise OSError("its name is too long")
        probe = above / f".writing-{secrets.token_hex(8)}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        reason = error.strerror or str(error)
        name = path if len(path) <= SHOWN else f"{path[:SHOWN]}..."
        raise UserError(f"{key}={name} is no place for a folder ({reason}); give another {key}=PATH") from error


def check_files(cfg: DictConfig) -> None:
    """Raises UserError if a folder or file that the data or the classifier is read from is not there.

    What is missing in the configuration, or cannot be resolved, is left to `check`.
    """
    for group in GROUPS:
        with contextlib.suppress(OmegaConfBaseException):
            _check_node(OmegaConf.to_container(cfg[group], resolve=True), group)


def _check_node(node: Any, key: str) -> None:
    """Does the same for the arguments of our own targets in a node."""
    if not isinstance(node, Mapping):
        return
    ours = str(node.get("_target_")).startswith("inr_xai.")
    for name, value in node.items():
        _check_node(value, f"{key}.{name}")
        if ours and name == "root" and isinstance(value, list):
            for photo in value:
                _check_node({"_target_": node["_target_"], "root": photo}, key)
        if not ours or not isinstance(value, str) or value == "???" or (name == "classes" and value in CLASSES):
            continue
        path = Path(value).expanduser()
        option = f"{key}.{name}"
        if name in (*FOLDERS, *FILES) and not value:
            raise UserError(f"{option} is empty; give {option}=PATH")
        photo = node.get("_target_") in OF_PHOTOS and name == "root" and path.is_file()
        if name in FOLDERS and not path.is_dir() and not photo:
            what = "is a file" if path.is_file() else "does not exist"
            raise UserError(f"{option}={value} {what}; give the folder as {option}=PATH")
        if name in FILES and not path.exists():
            raise UserError(f"{option}={value!r} is no file; give {FILES[name]}")
