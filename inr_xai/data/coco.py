"""COCO: photos of 80 classes with the pixels of each class that they show.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; masks are decoded by the package pycocotools.
"""

import contextlib
import io
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from inr_xai.data.annotated import Annotated, Marks, Shown, require_folder
from inr_xai.data.image_folder import sample_paths
from inr_xai.data.pools import POOL_SIZE
from inr_xai.errors import UserError

Instance = dict[str, Any]
"""One object as the file describes it."""


class COCO(Annotated):
    """One sample for each photo and class that it shows, `<photo>@<class>`, where a space in the class becomes `_`.

    A class is where any of its instances is, crowds included, as in the pointing game of Zhang et al. (IJCV 2018); a
    sample is difficult by their rule: the class covers less than a quarter of the photo, and another is there too. The
    list published with that paper is a file of its own and need not agree on every photo. Labels are 0 to 79 in the
    order of the category ids. Boxes are not given.

    Args:
        root: the folder of the photos, or the folder that holds it under the name of the split.
        annotations: the file of instances; None takes `root`/annotations/instances_<split>.json.
        split: such as "val2014" or "val2017".
        targets: "label", "predicted", "wrong" or a class index: which class to explain.
        limit, every: explain at most so many; take every n-th.
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
        pool_size: int = POOL_SIZE,
    ) -> None:
        super().__init__(targets=targets, limit=limit, every=every)
        outside = Path(root).expanduser()
        standard = f"annotations/instances_{split}.json"
        require_folder(outside, f"{split}/*.jpg and {standard}")
        photos = outside / split if (outside / split).is_dir() else outside
        file = outside / standard if annotations is None else Path(annotations).expanduser()
        self._index, shown = read_instances(file)
        labels = {category: label for label, category in enumerate(sorted(self._index.cats))}
        names = [self._index.cats[category]["name"] for category in labels]
        self._instances: dict[str, list[Instance]] = {}
        samples: dict[str, Shown] = {}
        for name, path in sample_paths(sorted(shown)).items():
            for category, instances in shown[path].items():
                sample_id = f"{name}@{names[labels[category]].replace(' ', '_')}"
                samples[sample_id] = Shown(photos / path, labels[category], len(shown[path]) > 1)
                self._instances[sample_id] = instances
        self._take(samples, names, pool_size=pool_size)

    def _marks(self, sample_id: str) -> Marks:
        try:
            masks = [torch.from_numpy(self._index.annToMask(instance)) for instance in self._instances[sample_id]]
        except Exception as error:
            raise UserError(
                f"cannot decode the segmentation of {sample_id!r} ({error}); take the annotations as published"
            ) from error
        return Marks(segmentation=torch.stack(masks).bool().any(0))


def read_instances(file: Path) -> tuple[Any, dict[PurePosixPath, dict[int, list[Instance]]]]:
    """The index that pycocotools makes of a file, and the instances of each category on each photo.

    Raises UserError where the package is missing, or where the file cannot be read or holds no instances.
    """
    try:
        from pycocotools import coco  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError("data=coco needs the package pycocotools; pip install 'inr-xai[coco]'") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
            index = coco.COCO(file)
        shown: dict[PurePosixPath, dict[int, list[Instance]]] = {}
        for image_id, image in index.imgs.items():
            of_photo = shown.setdefault(PurePosixPath(image["file_name"]), {})
            for instance in index.imgToAnns.get(image_id, []):
                category = index.cats[instance["category_id"]]["id"]  # a file of captions has none
                of_photo.setdefault(category, []).append(instance)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(
            f"cannot read the annotations {str(file)!r} ({error!r}); give data.annotations=FILE, such as "
            "annotations/instances_val2014.json"
        ) from error
    return index, shown
