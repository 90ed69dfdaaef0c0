"""Photos of a folder: wnid folders as of ImageNet, folders of one's own with an index file, or no folders at all."""

import logging
import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from inr_xai.data.labels import (
    check_selection,
    folder_label,
    imagenet_index,
    imagenet_label,
    imagenet_names,
    names_by_index,
    parse_targets,
    read_classes,
)
from inr_xai.data.marks import read_object
from inr_xai.data.pools import POOL_SIZE, is_synthetic, load_synthetic, split_pools
from inr_xai.data.transform import read_image, segmentation_to_input, to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing, Sample

KINDS = "jpg|jpeg|jpe|jfif|png|apng|bmp|dib|gif|tif|tiff|webp|avif|ppm|pgm|pbm|pnm|tga|jp2"
SUFFIX = re.compile(rf"\.({KINDS})", re.IGNORECASE)
LAYOUT = "val/<wnid>/*.JPEG (such as val/n01440764/ILSVRC2012_val_00000293.JPEG), or the wnid folders themselves"
log = logging.getLogger(__name__)


class ImageFolder:
    """The photos below `root`, in the order of their names; nothing is decoded before `load`.

    Args:
        root: folder of photos, searched with its subfolders; hidden files and folders are left out.
        targets: "label", "predicted", "wrong" or a class index: which class to explain.
        classes: index file for folders of one's own, see `read_classes`; None takes the folders for wnids.
        segmentations: folder of masks of the objects, see `find_masks`; photos without one have no segmentation.
        limit: explain at most this many; None for all.
        every: take every n-th photo.
        pool_size: photos in each of the two pools of baselines.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        targets: str | int = "label",
        classes: str | Path | None = None,
        segmentations: str | Path | None = None,
        limit: int | None = None,
        every: int = 1,
        pool_size: int = POOL_SIZE,
    ) -> None:
        check_selection(limit=limit, every=every)
        self.targets = parse_targets(targets)
        self.limit = limit
        self.every = every
        self.root = Path(root).expanduser()
        self.classes = None if classes is None else read_classes(classes)
        self.paths = sample_paths(find_images(self.root))
        self._labelled = any(self.label(path) is not None for path in self.paths.values())
        if self.targets == "label" and not self._labelled:
            raise UserError(self._why_unlabelled())
        self._ids = sorted(self.paths)
        self._masks = {} if segmentations is None else find_masks(segmentations, self.root, self.paths)
        self._pools = split_pools(self._ids, pool_size)

    @property
    def ids(self) -> list[str]:
        """All sample ids in sorted order, before limit and shard."""
        return self._ids

    @property
    def class_names(self) -> list[str] | None:
        """ImageNet's names for wnids, the folders' names of the index file, else None."""
        if self.classes is not None:
            return names_by_index(self.classes)
        return imagenet_names() if self._labelled else None

    @property
    def scoring_ids(self) -> list[str]:
        """Ids of the pool whose photos serve as the scoring baseline `photo`."""
        return self._pools[0]

    @property
    def donor_ids(self) -> list[str]:
        """Ids of the pool whose photos a fit may use; disjoint from `scoring_ids`."""
        return self._pools[1]

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """The sample.

        Raises UserError where the photo or its mask cannot be read, where they are not of one size (that of the upright
        photo), or where there is no label and `targets` asks for it.
        """
        if sample_id not in self.paths:
            if is_synthetic(sample_id):
                return load_synthetic(sample_id, preprocessing)
            raise UserError(f"there is no image {sample_id!r} below {str(self.root)!r}; data.root may have changed")
        path = self.paths[sample_id]
        label = self.label(path)
        if label is None and self.targets == "label":
            where = "data.classes" if self.classes is not None else "the wnids of ImageNet-1k"
            raise UserError(
                f"the folder of {str(path)!r} is not among {where}, so the image has no label; "
                "move it, or set data.targets=predicted"
            )
        image, frame = to_input(read_image(self.root / path), preprocessing)
        marked = read_object(self._masks[sample_id]) if sample_id in self._masks else None
        segmentation = None if marked is None else segmentation_to_input(marked, frame)
        return Sample(image, label, sample_id, frame, segmentation, on_photo=marked)

    def label(self, path: PurePosixPath) -> int | None:
        """The class that the path below the root tells."""
        return imagenet_label(path) if self.classes is None else folder_label(path, self.classes)

    def _why_unlabelled(self) -> str:
        folders = sorted({path.parent.name for path in self.paths.values()} - {""})
        found = f"its folders ({listed(folders)})" if folders else "it has no subfolders, and its file names"
        if self.classes is None:
            return (
                f"no image of {str(self.root)!r} has a label: {found} are not wnids of ImageNet-1k; give "
                "data.classes=FILE (one folder name per line, line number = class index), or set "
                "data.targets=predicted or a class index"
            )
        return (
            f"no image of {str(self.root)!r} has a label: {found} are not among the names of data.classes "
            f"({listed(list(self.classes))}); correct data.classes, or set data.targets=predicted or a class index"
        )


def imagenet(
    root: str | Path, *, targets: str | int = "label", limit: int | None = None, every: int = 1
) -> ImageFolder:
    """The validation photos of ImageNet-1k, in wnid folders below `root`/val, `root`/validation or `root` itself."""
    folder = Path(root).expanduser()
    inside = next((folder / name for name in ("val", "validation") if (folder / name).is_dir()), folder)
    if inside.is_dir() and not any(child.name in imagenet_index() for child in inside.iterdir()):
        raise UserError(f"data.root={str(root)!r} has no wnid folders; expected {LAYOUT}, or take data=image_folder")
    return ImageFolder(inside, targets=targets, limit=limit, every=every)


def find_masks(folder: str | Path, root: Path, photos: Collection[str]) -> dict[str, Path]:
    """The masks by the ids of their photos: the path below `folder`, without suffix, is the photo's id.

    Args:
        folder: the option data.segmentations.
        root: folder of the photos.
        photos: their ids.

    Raises:
        UserError: no mask belongs to a photo, two belong to one, or they lie among the photos.
    """
    masks = Path(folder).expanduser()
    option = f"data.segmentations={str(folder)!r}"
    found: dict[str, Path] = {}
    for path in find_images(masks, option="data.segmentations"):
        name = str(path.with_suffix(""))
        if name in found:
            raise UserError(f"{option} holds two masks of {name!r}, {found[name].name} and {path.name}; remove one")
        if name in photos:
            found[name] = masks / path
    if masks.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{option} lies within data.root, so its masks would count as photos; move one of the two")
    if not found:
        raise UserError(
            f"{option} holds no mask of any photo below data.root; the mask of {next(iter(photos))!r} would be "
            f"{next(iter(photos)) + '.png'!r} there"
        )
    log.info("%d of %d photos have a segmentation", len(found), len(photos))
    return found


def find_images(root: Path, *, option: str = "data.root") -> list[PurePosixPath]:
    """The image files below `root`, relative to it and sorted; links are followed, each real folder once.

    Args:
        option: where `root` comes from, for the refusals.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"{option}={str(root)!r} {what}; give the folder that holds the images")
    found: list[PurePosixPath] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=cannot_list):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        if "run.json" in files and "masks" in subfolders:  # a run's own folder: its figures are no photos
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inside = PurePosixPath(Path(folder).relative_to(root).as_posix())
        found += [inside / name for name in files if is_image(name)]
    if not found:
        raise UserError(f"{option}={str(root)!r} holds no images (no file ends in {KINDS}); give another folder")
    return sorted(found, key=str)


def cannot_list(error: OSError) -> None:
    """A folder that cannot be listed would silently lose its images."""
    raise UserError(f"cannot list the folder {error.filename!r} ({error.strerror}); make it readable") from error


def is_image(name: str) -> bool:
    """By the suffix, in any case; hidden files are no images."""
    return not name.startswith(".") and SUFFIX.fullmatch(os.path.splitext(name)[1]) is not None


def sample_paths(paths: list[PurePosixPath]) -> dict[str, PurePosixPath]:
    """Each file by its id: the path without suffix, or with it for every file whose short id another also has."""
    ids = {path: str(path.with_suffix("")) for path in paths}
    while repeated := {name for name, count in Counter(ids.values()).items() if count > 1}:
        ids |= {path: str(path) for path, name in ids.items() if name in repeated}
    return {name: path for path, name in ids.items()}


def listed(names: list[str], most: int = 3) -> str:
    """The first few names.

    >>> listed(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
