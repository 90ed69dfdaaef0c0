"""Photos in a folder: in wnid folders like ImageNet's, in other folders with an index file, or without subfolders."""

import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from inr_xai.data.crops import CropNames
from inr_xai.data.files import safe_name, walk
from inr_xai.data.image_file import KINDS
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
from inr_xai.data.outage import DataFolders
from inr_xai.data.pools import POOL_SIZE, is_synthetic, load_synthetic, split_pools
from inr_xai.data.transform import PhotoReader, segmentation_to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing, Sample

SUFFIX = re.compile(rf"\.({KINDS})", re.IGNORECASE)
OTHER_SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("heic", "heif", "hif", "heics", "avifs", "jxl", "jxr", "wdp", "hdp"),
        *("jpf", "jpx", "jpm", "j2k", "j2c", "jpc"),
        *("svg", "svgz", "eps", "ps", "ai", "emf", "wmf", "psd", "psb", "xcf", "kra", "ora", "afphoto", "exr", "hdr"),
        *("dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "orf", "rw2", "raf", "pef", "srw", "x3f"),
        *("3fr", "fff", "erf", "kdc", "dcr", "k25", "mef", "mos", "mrw", "rwl", "iiq", "raw", "gpr", "ptx", "cap"),
        *("dcm", "dicom", "nii", "fits", "fit", "fts", "nrrd", "mha", "czi", "lif", "nd2", "svs", "ndpi", "vsi"),
        *("ico", "icns", "cur", "pcx", "dcx", "sgi", "rgb", "rgba", "bw", "ras", "xbm", "xpm", "dds", "pam", "pfm"),
        *("qoi", "flif", "bpg", "mng", "jng", "jls", "cin", "dpx", "pic", "pct", "pict", "fpx", "djvu", "tpic", "icb"),
        *("vda", "vst", "mpo", "insp", "jps", "pns"),
    )
)
"""Suffixes of pictures that are not read; they are counted, so that nobody misses them unaware."""
LAYOUT = "val/<wnid>/*.JPEG (such as val/n01440764/ILSVRC2012_val_00000293.JPEG), or the wnid folders themselves"
log = logging.getLogger(__name__)


class ImageFolder:
    """The photos below `root`, sorted by name; no photo is decoded before `load`.

    Folders that are no wnids and are named by no `classes` are classes all the same, as torchvision's ImageFolder reads
    them (the sorted subfolders of `root`), if the classifier has as many: `take_folders` says so.

    Args:
        root: folder of photos, searched with its subfolders; hidden files and folders are left out. Or a photo, or
            several: their ids are then paths below the folder that holds them all.
        targets: which class to explain: "label", "predicted", "wrong" or a class index.
        classes: index file of the folders' classes, see `read_classes`; None if the folders are named by wnids.
        segmentations: folder with masks of the objects, see `find_masks`; a photo without a mask has no segmentation.
        limit, every: explain every n-th photo, and at most `limit` of them.
        range: values of black and white in photos of more than 8 bits; None for the rule of `data.value_range`.
        photo: a regular expression whose first group is, in an image's id, the photo of which it is a crop: crops of
            one photo are no baselines of each other. By default every image is a photo of its own.
        pool_size: photos in each of the two pools of baselines.

    Raises:
        UserError: an option is wrong, or there are no photos, or no labels if they are asked for.

    Attributes:
        photo_of: returns the photo of a sample id.
        folders: say how long an outage of the folders is waited for; by default it is not.
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        *,
        targets: str | int = "label",
        classes: str | Path | None = None,
        segmentations: str | Path | None = None,
        limit: int | None = None,
        every: int = 1,
        range: Sequence[float] | None = None,
        photo: str | None = None,
        pool_size: int = POOL_SIZE,
    ) -> None:
        check_selection(limit=limit, every=every)
        self._reader, self.photo_of = PhotoReader(range), CropNames(photo).photo_of
        self.targets = parse_targets(targets)
        self.limit = limit
        self.every = every
        self.root, found = photos_of(root)
        self.classes = None if classes is None else read_classes(classes)
        self._by_folder = False
        self.paths = sample_paths(found)
        self._labelled = any(self.label(path) is not None for path in self.paths.values())
        if self.targets == "label" and not (self._labelled or self.may_take_folders):
            raise UserError(self._unlabelled_reason())
        self._ids = sorted(self.paths)
        self._masks = {} if segmentations is None else find_masks(segmentations, self.root, self.paths)
        self._pools = split_pools(self._ids, pool_size)
        self.folders = DataFolders(self.root, *([] if segmentations is None else [Path(segmentations).expanduser()]))

    @property
    def ids(self) -> list[str]:
        """All sample ids in sorted order, before `every`, `limit` and shards select from them."""
        return self._ids

    @property
    def class_names(self) -> list[str] | None:
        """ImageNet's names for wnids, or the folders' names of the index file; None if there are neither."""
        if self.classes is not None:
            return names_by_index(self.classes)
        return imagenet_names() if self._labelled else None

    @property
    def may_take_folders(self) -> bool:
        """Whether no photo has a label, and all lie in subfolders that may be classes."""
        return not self._labelled and self.classes is None and len(self._folders) > 1

    def take_folders(self, classes: int) -> None:
        """Makes the sorted subfolders of `root` the classes if there are as many as the classifier has.

        Raises UserError if there are not, and labels are asked for.
        """
        folders = self._folders
        if len(folders) == classes > 1:
            log.info(
                "the %d subfolders of %s are taken for the classifier's classes, in sorted order: %s",
                *(classes, self.root, first_names(folders)),
            )
            self.classes = {name: index for index, name in enumerate(folders)}
            self._labelled = self._by_folder = True
        elif self.targets == "label":
            raise UserError(
                f"{self._unlabelled_reason()} (subfolders would be classes if there were {classes}, as many as the "
                f"classifier has; there are {len(folders)})"
            )

    @property
    def _folders(self) -> list[str]:
        """The sorted subfolders of `root`; none if a photo lies in none of them."""
        parts = [path.parts for path in self.paths.values()]
        return [] if any(len(names) < 2 for names in parts) else sorted({names[0] for names in parts})

    @property
    def scoring_ids(self) -> list[str]:
        """Ids of the photos that serve as the scoring baseline `photo`."""
        return self._pools[0]

    @property
    def donor_ids(self) -> list[str]:
        """Ids of the photos that a fit may use as donors; disjoint from `scoring_ids`."""
        return self._pools[1]

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns a sample.

        Raises UserError if the photo or its mask cannot be read, if the mask does not have the size of the upright
        photo, or if `targets` is "label" and there is none; Unreachable if the data are out of reach.
        """
        return self.folders.read(sample_id, lambda: self._load(sample_id, preprocessing))

    def _load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
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
        image, frame = self._reader.read_input(self.root / path, preprocessing)
        marked = read_object(self._masks[sample_id]) if sample_id in self._masks else None
        segmentation = None if marked is None else segmentation_to_input(marked, frame)
        return Sample(image, label, sample_id, frame, segmentation, on_photo=marked)

    def label(self, path: PurePosixPath) -> int | None:
        """Returns the class of a photo by its path below the root; None if the path has none."""
        if self._by_folder and self.classes is not None:
            return self.classes.get(path.parts[0])
        return imagenet_label(path) if self.classes is None else folder_label(path, self.classes)

    def _unlabelled_reason(self) -> str:
        folders = sorted({path.parent.name for path in self.paths.values()} - {""})
        names = f"its folders ({first_names(folders)})" if folders else "it has no subfolders, and its file names"
        if self.classes is None:
            return (
                f"no image of {str(self.root)!r} has a label: {names} are not wnids of ImageNet-1k; give "
                "data.classes=FILE (one folder name per line, line number = class index), or set "
                "data.targets=predicted or a class index"
            )
        return (
            f"no image of {str(self.root)!r} has a label: {names} are not among the names of data.classes "
            f"({first_names(list(self.classes))}); correct data.classes, or set data.targets=predicted or a class index"
        )


def imagenet(
    root: str | Path,
    *,
    targets: str | int = "label",
    limit: int | None = None,
    every: int = 1,
    range: Sequence[float] | None = None,
) -> ImageFolder:
    """Returns ImageNet-1k's validation photos, in wnid folders below `root`/val, `root`/validation or `root`."""
    folder = Path(root).expanduser()
    inside = next((folder / name for name in ("val", "validation") if (folder / name).is_dir()), folder)
    if inside.is_dir() and not any(child.name in imagenet_index() for child in inside.iterdir()):
        raise UserError(f"data.root={str(root)!r} has no wnid folders; expected {LAYOUT}, or take data=image_folder")
    return ImageFolder(inside, targets=targets, limit=limit, every=every, range=range)


def find_masks(folder: str | Path, root: Path, photos: Collection[str]) -> dict[str, Path]:
    """Returns photo id -> mask. The path of a mask below `folder`, without suffix, is the id of its photo.

    Args:
        folder: the option data.segmentations.
        root: folder of the photos.
        photos: ids of the photos.

    Raises:
        UserError: no mask belongs to a photo, two masks belong to one photo, or the masks lie among the photos.
    """
    masks_folder = Path(folder).expanduser()
    option = f"data.segmentations={str(folder)!r}"
    masks: dict[str, Path] = {}
    for path in find_images(masks_folder, option="data.segmentations"):
        name = safe_name(str(path.with_suffix("")))
        if name in masks:
            raise UserError(f"{option} holds two masks of {name!r}, {masks[name].name} and {path.name}; remove one")
        if name in photos:
            masks[name] = masks_folder / path
    if masks_folder.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{option} lies within data.root, so its masks would count as photos; move one of the two")
    if not masks:
        raise UserError(
            f"{option} holds no mask of any photo below data.root; the mask of {next(iter(photos))!r} would be "
            f"{next(iter(photos)) + '.png'!r} there"
        )
    log.info("%d of %d photos have a segmentation", len(masks), len(photos))
    return masks


def photos_of(root: str | Path | Sequence[str | Path]) -> tuple[Path, list[PurePosixPath]]:
    """Returns a folder and the photos below it, as paths relative to it.

    Args:
        root: a folder, whose photos are found; or a photo, or several.

    Raises:
        UserError: there is no such folder or file, or a file has not the suffix of a photo.
    """
    if isinstance(root, str | Path) and not Path(root).expanduser().is_file():
        folder = Path(root).expanduser()
        return folder, find_images(folder)
    files = [Path(file).expanduser() for file in ([root] if isinstance(root, str | Path) else root)]
    for file in files:
        if not file.is_file():
            raise UserError(f"data.root={str(file)!r} is no photo; give photos, or one folder of photos")
        if not is_image(file.name):
            raise UserError(f"data.root={str(file)!r} is no photo: its name does not end in {KINDS}")
    if not files:
        raise UserError("data.root=[] names no photo; give a folder of photos, or photos")
    folder = Path(os.path.commonpath([file.absolute().parent for file in files]))
    below = [PurePosixPath(file.absolute().relative_to(folder).as_posix()) for file in files]
    return folder, sorted(set(below), key=str)


def find_images(root: Path, *, option: str = "data.root") -> list[PurePosixPath]:
    """Returns the image files below `root`, relative to it and sorted; links are followed, each real folder once.

    Args:
        option: the option that names `root`, for error messages.

    Raises:
        UserError: `root` is no folder or has no images, or one of its folders cannot be read.
    """
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"{option}={str(root)!r} {reason}; give the folder that holds the images")
    paths: list[PurePosixPath] = []
    passed_over: Counter[str] = Counter()
    irregular: list[PurePosixPath] = []
    try:
        for folder, subfolders, files, others in walk(root):
            if "run.json" in files and "masks" in subfolders:  # the folder of a run, whose figures are no photos
                subfolders.clear()
                continue
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            inside = PurePosixPath(folder.relative_to(root).as_posix())
            paths += [inside / name for name in files if is_image(name)]
            irregular += [inside / name for name in others if is_image(name)]
            passed_over.update(suffix for name in files if (suffix := other_picture(name)))
    except OSError as error:
        raise UserError(f"cannot list the folder {error.filename!r} ({error.strerror}); make it readable") from error
    others_found = ", ".join(f"{count} {suffix}" for suffix, count in sorted(passed_over.items()))
    if not paths:
        beside = f"; it has {others_found}, which are not read" if others_found else ""
        raise UserError(
            f"{option}={str(root)!r} holds no images (no file ends in {KINDS}{beside}); give another folder"
        )
    if others_found:
        log.warning(
            "pictures passed over below %s: %s; convert them to PNG or JPEG to have them too", root, others_found
        )
    if irregular:
        names = first_names([safe_name(str(path)) for path in sorted(irregular, key=str)])
        log.warning("%d names below %s are no regular files and are left out: %s", len(irregular), root, names)
    return sorted(paths, key=str)


def is_image(name: str) -> bool:
    """Returns whether a file is an image, by its suffix in upper or lower case; hidden files are not."""
    return not name.startswith(".") and SUFFIX.fullmatch(os.path.splitext(name)[1]) is not None


def other_picture(name: str) -> str:
    """Returns the suffix of a picture of a kind that is not read, in lower case; empty for all other files.

    >>> other_picture("IMG_1.HEIC"), other_picture("a.jpg"), other_picture("notes.txt")
    ('.heic', '', '')
    """
    suffix = os.path.splitext(name)[1].lower()
    return suffix if suffix in OTHER_SUFFIXES and not name.startswith(".") else ""


def sample_paths(paths: list[PurePosixPath]) -> dict[str, PurePosixPath]:
    """Returns id -> path. An id is the path without suffix; with suffix if two paths differ in nothing else.

    Characters that break a line or are no UTF-8 are escaped in the id, see `safe_name`.
    """
    ids = {path: safe_name(str(path.with_suffix(""))) for path in paths}
    while repeated := {name for name, count in Counter(ids.values()).items() if count > 1}:
        ids |= {path: safe_name(str(path)) for path, name in ids.items() if name in repeated}
    return {name: path for path, name in ids.items()}


def first_names(names: list[str], most: int = 3) -> str:
    """Returns the first few names, for an error message.

    >>> first_names(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
