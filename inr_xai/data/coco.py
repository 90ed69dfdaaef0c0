"""COCO: photos of 80 classes with a segmentation of each class that they show.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. The package pycocotools decodes the segmentations.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from inr_xai.data.annotated import Annotated, Marks, PhotoClass, require_folder
from inr_xai.data.image_folder import sample_paths
from inr_xai.data.pools import POOL_SIZE
from inr_xai.errors import UserError

Instance = dict[str, Any]
"""The description of one object in the file of annotations."""


class COCO(Annotated):
    """One sample for each photo and class that it shows, `<photo>@<class>`, where a space in the class becomes `_`.

    The segmentation is the union of all instances of the class, crowds included, as in the pointing game of Zhang et
    al. (IJCV 2018). A sample is difficult by their rule: the class covers less than a quarter of the photo, and the
    photo shows another class too. (The list published with that paper may differ for some photos.) Labels are 0 to 79
    in the order of the category ids. There are no boxes.

    Args:
        root: the folder of the photos, or a folder that contains it under the name of the split.
        annotations: the file of instances; None stands for `root`/annotations/instances_<split>.json.
        split: name of the split, such as "val2014" or "val2017".
        targets: which class to explain: "label", "predicted", "wrong" or a class index.
        limit, every: explain every n-th sample, and at most `limit` of them.
        range: values of black and white in photos of more than 8 bits; None for the rule of `data.value_range`.
        pool_size: photos in each of the two pools of baselines.
    """

    def __init__(
        self,
        root: str | Path,
        annotations: str | Path | None = None,
        *,
        split: str = "val2014",
        targets: str | int = "label",
        limit: int | None = None,
        every: int = 1,
        range: Sequence[float] | None = None,
        pool_size: int = POOL_SIZE,
    ) -> None:
        super().__init__(targets=targets, limit=limit, every=every, range=range)
        folder = Path(root).expanduser()
        default = f"annotations/instances_{split}.json"
        require_folder(folder, f"{split}/*.jpg and {default}")
        photos = folder / split if (folder / split).is_dir() else folder
        file = folder / default if annotations is None else Path(annotations).expanduser()
        self._index, instances_of = read_instances(file)
        labels = {category: label for label, category in enumerate(sorted(self._index.cats))}
        names = [self._index.cats[category]["name"] for category in labels]
        self._instances: dict[str, list[Instance]] = {}
        samples: dict[str, PhotoClass] = {}
        for name, path in sample_paths(sorted(instances_of)).items():
            for category, instances in instances_of[path].items():
                sample_id = f"{name}@{names[labels[category]].replace(' ', '_')}"
                samples[sample_id] = PhotoClass(photos / path, labels[category], len(instances_of[path]) > 1)
                self._instances[sample_id] = instances
        self._set_samples(samples, names, pool_size=pool_size)

    def _marks(self, sample_id: str) -> Marks:
        try:
            masks = [torch.from_numpy(self._index.annToMask(instance)) for instance in self._instances[sample_id]]
        except Exception as error:
            raise UserError(
                f"cannot decode the segmentation of {sample_id!r} ({error}); take the annotations as published"
            ) from error
        return Marks(segmentation=torch.stack(masks).bool().any(0))


def read_instances(file: Path) -> tuple[Any, dict[PurePosixPath, dict[int, list[Instance]]]]:
    """Returns pycocotools' index of a file, and photo -> category -> instances.

    Raises UserError if the package is missing, or if the file cannot be read or contains no instances.
    """
    try:
        from pycocotools import coco  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError("data=coco needs the package pycocotools; pip install 'inr-xai[coco]'") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            index = coco.COCO(file)
        photos: dict[PurePosixPath, dict[int, list[Instance]]] = {}
        for image_id, image in index.imgs.items():
            categories = photos.setdefault(PurePosixPath(image["file_name"]), {})
            for instance in index.imgToAnns.get(image_id, []):
                category = index.cats[instance["category_id"]]["id"]  # a file of captions has none
                categories.setdefault(category, []).append(instance)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(
            f"cannot read the annotations {str(file)!r} ({error!r}); give data.annotations=FILE, such as "
            "annotations/instances_val2014.json"
        ) from error
    return index, photos
