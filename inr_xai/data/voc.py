"""PASCAL VOC: photos of 20 classes with a segmentation or boxes of each class that they show.

Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010. SegmentationClass holds palette
images whose indices are 0 for background, 1 to 20 for the classes and 255 for void; boxes count pixels from 1.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from inr_xai.data.annotated import Annotated, Marks, PhotoClass, require_folder
from inr_xai.data.files import open_regular, read_text
from inr_xai.data.labels import imagenet_index, imagenet_names
from inr_xai.data.marks import Box, fill_boxes, read_label_map, stored_size
from inr_xai.data.pools import POOL_SIZE
from inr_xai.errors import UserError

VOID = 255
SETS: Final = {"segmentation": "Segmentation", "boxes": "Main"}
"""The folder of ImageSets that lists the photos of each task."""
IMAGENET: Final = {
    "aeroplane": "n02690373",  # airliner
    "bicycle": "n03792782",  # mountain bike
    "bird": "n01558993",  # robin
    "boat": "n04273569",  # speedboat
    "bottle": "n04557648",  # water bottle
    "bus": "n04146614",  # school bus
    "car": "n04285008",  # sports car
    "cat": "n02123045",  # tabby
    "chair": "n03376595",  # folding chair
    "cow": "n02403003",  # ox
    "diningtable": "n03201208",  # dining table
    "dog": "n02099712",  # Labrador retriever
    "horse": "n02389026",  # sorrel
    "motorbike": "n03791053",  # motor scooter
    "person": None,
    "pottedplant": "n03991062",  # flowerpot
    "sheep": "n02412080",  # ram
    "sofa": "n04344873",  # studio couch
    "train": "n03895866",  # passenger car
    "tvmonitor": "n04404412",  # television
}
"""The 20 classes in the order of their ids, each with one class of ImageNet-1k that shows such a thing, if any."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Object:
    """One object in the annotation of a photo."""

    name: str
    difficult: bool
    box: Box


class VOC(Annotated):
    """One sample for each photo and class that it shows, `<photo>@<class>`, from VOC<year> below `root`.

    Classes are those of the boxes in Annotations; there is no sample for a class whose boxes are all flagged difficult.
    A sample is difficult by the rule of Zhang et al. (IJCV 2018): the boxes of its class together cover less than a
    quarter of the photo, and another class has a box too. (The list published with that paper may differ for some
    photos.) A photo whose annotation cannot be read is one sample, `<photo>`, which fails.

    Args:
        root: the folder VOC<year>, VOCdevkit, or the folder that contains VOCdevkit.
        year: year of the challenge; only 2007 has a public "test" split.
        split: a file of ImageSets/Segmentation or, for boxes, of ImageSets/Main: "train", "val", "trainval", "test".
        task: "segmentation" for photos with segmentations and boxes; "boxes" for more photos, with boxes only.
        classes: "voc" for labels 0 to 19 in alphabetical order, for a classifier of VOC; "imagenet" for one class of
            ImageNet-1k for each class, see `IMAGENET`, without persons. For a bird, a cat or a dog that is one breed
            of many; if it matters, use targets="predicted".
        targets: which class to explain: "label", "predicted", "wrong" or a class index.
        limit, every: explain every n-th sample, and at most `limit` of them.
        range: values of black and white in photos of more than 8 bits; None for the rule of `data.value_range`.
        pool_size: photos in each of the two pools of baselines.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        year: int | str = 2012,
        split: str = "val",
        task: str = "segmentation",
        classes: str = "voc",
        targets: str | int = "label",
        limit: int | None = None,
        every: int = 1,
        range: Sequence[float] | None = None,
        pool_size: int = POOL_SIZE,
    ) -> None:
        super().__init__(targets=targets, limit=limit, every=every, range=range)
        require_choice("task", task, SETS)
        require_choice("classes", classes, LABELS)
        labels, class_names = LABELS[classes]()
        folder = year_folder(Path(root).expanduser(), f"VOC{year}", task)
        self._segmentations = folder / "SegmentationClass" if task == "segmentation" else None
        self._objects: dict[str, list[Object]] = {}
        unreadable: dict[str, str] = {}
        for photo in read_split(folder / "ImageSets" / SETS[task], split):
            try:
                self._objects[photo] = read_objects(folder / "Annotations" / f"{photo}.xml")
            except UserError as error:
                unreadable[photo] = str(error)
        pairs = [
            (photo, name)
            for photo, objects in self._objects.items()
            for name in {thing.name for thing in objects if not thing.difficult}
        ]
        for name, count in Counter(name for _, name in pairs if name not in labels).items():
            log.info("%d samples of the class %s are left out: ImageNet-1k has no such class", count, name)
        samples = {
            f"{photo}@{name}": PhotoClass(
                folder / "JPEGImages" / f"{photo}.jpg",
                labels[name],
                others=any(thing.name != name for thing in self._objects[photo]),
            )
            for photo, name in pairs
            if name in labels
        }
        self._set_samples(samples, class_names, pool_size=pool_size, unreadable=unreadable)

    def _marks(self, sample_id: str) -> Marks:
        photo, _, name = sample_id.rpartition("@")
        class_boxes = [thing.box for thing in self._objects[photo] if thing.name == name]
        boxes = fill_boxes(class_boxes, stored_size(self._samples[sample_id].photo))
        if self._segmentations is None:
            return Marks(boxes=boxes)
        ids = read_label_map(self._segmentations / f"{photo}.png", ("P", "L"))
        return Marks(segmentation=ids == 1 + list(IMAGENET).index(name), ignore=ids == VOID, boxes=boxes)


def voc_labels() -> tuple[dict[str, int], list[str]]:
    """Returns name -> label of the 20 classes in alphabetical order, and their names by label."""
    return {name: index for index, name in enumerate(IMAGENET)}, list(IMAGENET)


def imagenet_labels() -> tuple[dict[str, int], list[str]]:
    """Returns name -> label of the classes that ImageNet-1k has too, and the names of all its classes by label."""
    index = imagenet_index()
    return {name: index[wnid] for name, wnid in IMAGENET.items() if wnid is not None}, imagenet_names()


LABELS: Final = {"voc": voc_labels, "imagenet": imagenet_labels}


def require_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Raises UserError unless the value is one of the choices."""
    if value not in choices:
        raise UserError(f"data.{option}={value!r} is not allowed; choose one of {', '.join(choices)}")


def year_folder(root: Path, name: str, task: str) -> Path:
    """Returns the folder VOC<year> at or below `root`. Raises UserError if it lacks what the task needs."""
    inside = (root / name, root / "VOCdevkit" / name)
    folder = next((folder for folder in inside if folder.is_dir()), root)
    parts = ["Annotations", "JPEGImages", f"ImageSets/{SETS[task]}"]
    parts += ["SegmentationClass"] if task == "segmentation" else []
    for part in parts:
        require_folder(folder / part, f"VOCdevkit/{name} with {', '.join(parts)}")
    return folder


def read_split(folder: Path, split: str) -> list[str]:
    """Returns the photos of a split as ImageSets lists them, without suffix. Raises UserError if there is no list."""
    file = folder / f"{split}.txt"
    if not file.is_file():
        splits = ", ".join(sorted(other.stem for other in folder.glob("*.txt"))) or "none"
        raise UserError(
            f"data.split={split!r} needs {str(file)!r}, which does not exist; the splits there are {splits}"
        )
    try:
        photos = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {str(file)!r} ({error}); restore the file") from error
    if not photos or any(" " in photo for photo in photos):
        reason = "lists photos with a flag, as of one class" if photos else "lists no photo"
        raise UserError(f"{str(file)!r} {reason}; choose a split of all classes, such as data.split=val")
    return photos


def read_objects(file: Path) -> list[Object]:
    """Returns the objects of an annotation, without their parts. Raises UserError if it cannot be read."""
    try:
        with open_regular(file) as stream:
            objects = [parse_object(node) for node in ElementTree.parse(stream).getroot().findall("object")]
    except Exception as error:  # a broken file makes the reader raise anything
        raise UserError(f"cannot read the annotation {str(file)!r} ({error}); restore the file") from error
    if unknown := [thing.name for thing in objects if thing.name not in IMAGENET]:
        raise UserError(
            f"{str(file)!r} marks an object of {unknown[0]!r}, which is not one of VOC's 20 classes; mend it"
        )
    return objects


def parse_object(node: ElementTree.Element) -> Object:
    """Returns one object. The pixels of its box are rounded, as some annotations have decimals."""
    left, top, right, bottom = (
        round(float(node.findtext(f"bndbox/{side}", ""))) - 1 for side in ("xmin", "ymin", "xmax", "ymax")
    )
    difficult = node.findtext("difficult", "0").strip() == "1"
    return Object(node.findtext("name", "").strip(), difficult, (left, top, right, bottom))
