"""ImageNet-S: photos of ImageNet with the pixels of their class.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022, arXiv 2106.03149. In a mask, R + 256 G is the
class id: 0 is anything else, 1000 is to be ignored, and 1 to N are the subset's wnids in sorted order.
"""

from collections.abc import Sequence
from pathlib import Path

from inr_xai.data.annotated import Annotated, Marks, Shown, require_folder
from inr_xai.data.image_folder import find_images, listed, sample_paths
from inr_xai.data.labels import imagenet_index, imagenet_names
from inr_xai.data.marks import read_label_map
from inr_xai.data.pools import POOL_SIZE
from inr_xai.errors import UserError

IGNORED = 1000
SUBSETS = (50, 300, 919)
CLASSES_50 = (
    *(1, 3, 11, 31, 222, 277, 284, 295, 301, 325, 330, 333, 342, 368, 386, 388, 404, 412, 418, 436, 449, 466, 487),
    *(492, 502, 510, 531, 532, 574, 579, 606, 617, 659, 670, 695, 703, 748, 829, 846, 851, 861, 879, 883, 898, 900),
    *(914, 919, 951, 959, 992),
)
"""The classes of the smallest subset, by their index among the 1,000 of ImageNet."""


class ImageNetS(Annotated):
    """The photos of `root`/ImageNetS<subset>/<split>/<wnid>/ with the masks of <split>-segmentation/<wnid>/.

    A label is the index of the photo's wnid folder among all 1,000 of ImageNet; other classes count as background.

    Args:
        root: the folder that holds ImageNetS50 (or 300, 919), or that folder itself.
        subset: number of classes, 50, 300 or 919; a wnid has another id in each.
        split: "validation" or "train-semi"; the masks of the test photos are not public.
        categories: file of the subset's wnids in any order, such as ImageNetS_categories_im300.txt; None takes the
            folders of the split, which must then be complete. Subset 50 needs none.
        targets: "label", "predicted", "wrong" or a class index: which class to explain.
        limit, every: explain at most so many; take every n-th.
        pool_size: photos in each of the two pools of baselines.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        subset: int = 50,
        split: str = "validation",
        categories: str | Path | None = None,
        targets: str | int = "label",
        limit: int | None = None,
        every: int = 1,
        pool_size: int = POOL_SIZE,
    ) -> None:
        super().__init__(targets=targets, limit=limit, every=every)
        if subset not in SUBSETS:
            raise UserError(f"data.subset={subset} is not allowed; choose one of {', '.join(map(str, SUBSETS))}")
        name = f"ImageNetS{subset}"
        outside = Path(root).expanduser()
        folder = outside / name if (outside / name).is_dir() else outside
        layout = f"{name}/{split}/<wnid>/*.JPEG and {name}/{split}-segmentation/<wnid>/*.png"
        photos = require_folder(folder / split, layout)
        self._masks = require_folder(folder / f"{split}-segmentation", layout)
        order = class_order(subset, photos, categories)
        self._mask_ids = {wnid: rank for rank, wnid in enumerate(order, start=1)}
        self._paths = sample_paths(find_images(photos))
        self._require_known(name)
        index = imagenet_index()
        samples = {name: Shown(photos / path, index[path.parts[0]]) for name, path in self._paths.items()}
        self._take(samples, imagenet_names(), pool_size=pool_size)

    def _marks(self, sample_id: str) -> Marks:
        path = self._paths[sample_id]
        red, green, _ = read_label_map(self._masks / path.with_suffix(".png"), ("RGB",)).int().unbind(-1)
        ids = red + 256 * green
        return Marks(segmentation=ids == self._mask_ids[path.parts[0]], ignore=ids == IGNORED)

    def _require_known(self, name: str) -> None:
        """Raises UserError where a photo lies in no folder of the subset's classes."""
        if strange := sorted({path.parts[0] for path in self._paths.values()} - set(self._mask_ids)):
            raise UserError(
                f"{listed(strange)} below data.root is not among the {len(self._mask_ids)} wnids of {name}; "
                "remove it, or set data.subset to what the folder holds"
            )


def class_order(subset: int, photos: Path, categories: str | Path | None) -> list[str]:
    """All wnids of the subset, sorted: the mask id of a wnid is its place in this list, counted from 1."""
    index = imagenet_index()
    if categories is not None:
        return complete(read_categories(categories), subset, f"data.categories={str(categories)!r}")
    if subset == len(CLASSES_50):
        return [wnid for wnid, label in index.items() if label in CLASSES_50]
    return complete([child.name for child in photos.iterdir() if child.name in index], subset, repr(str(photos)))


def complete(wnids: Sequence[str], subset: int, source: str) -> list[str]:
    """The wnids sorted. Raises UserError unless all of the subset are there, since a gap would shift every later id."""
    if len(set(wnids)) != subset:
        raise UserError(
            f"{source} names {len(set(wnids))} wnids, and the ids in the masks count all {subset} of the subset; "
            f"give data.categories=ImageNetS_categories_im{subset}.txt, which lists them"
        )
    return sorted(set(wnids))


def read_categories(file: str | Path) -> list[str]:
    """The wnids of a file, one a line. Raises UserError where it cannot be read or names what is no wnid."""
    try:
        wnids = Path(file).expanduser().read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.categories={str(file)!r} cannot be read ({error}); give a file of wnids") from error
    if strange := sorted(set(wnids) - set(imagenet_index())):
        raise UserError(f"data.categories={str(file)!r} names {listed(strange)}; write one wnid of ImageNet-1k a line")
    return wnids
