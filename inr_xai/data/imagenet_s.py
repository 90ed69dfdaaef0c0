"""ImageNet-S: photos of ImageNet with a segmentation of their class.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022, arXiv 2106.03149. In a mask, R + 256 G is the
class id: 1 to N are the subset's wnids in sorted order, 0 is everything else, and 1000 is to be ignored.
"""

from collections.abc import Sequence
from pathlib import Path

from inr_xai.data.annotated import Annotated, Marks, PhotoClass, require_folder
from inr_xai.data.files import read_text
from inr_xai.data.image_folder import find_images, first_names, sample_paths
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
        root: the folder that contains ImageNetS50 (or 300, 919), or that folder itself.
        subset: number of classes, 50, 300 or 919. The id of a wnid in the masks depends on the subset.
        split: "validation" or "train-semi"; the masks of the test photos are not public.
        categories: file of the subset's wnids in any order, such as ImageNetS_categories_im300.txt. None uses the
            folders of the split, which must then be complete; subset 50 needs no file.
        targets: which class to explain: "label", "predicted", "wrong" or a class index.
        limit, every: explain every n-th sample, and at most `limit` of them.
        range: values of black and white in photos of more than 8 bits; None for the rule of `data.value_range`.
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
        range: Sequence[float] | None = None,
        pool_size: int = POOL_SIZE,
    ) -> None:
        super().__init__(targets=targets, limit=limit, every=every, range=range)
        if subset not in SUBSETS:
            raise UserError(f"data.subset={subset} is not allowed; choose one of {', '.join(map(str, SUBSETS))}")
        name, folder = f"ImageNetS{subset}", Path(root).expanduser()
        folder = folder / name if (folder / name).is_dir() else folder
        layout = f"{name}/{split}/<wnid>/*.JPEG and {name}/{split}-segmentation/<wnid>/*.png"
        photos = require_folder(folder / split, layout)
        self._masks = require_folder(folder / f"{split}-segmentation", layout)
        order = class_order(subset, photos, categories)
        self._mask_ids = {wnid: rank for rank, wnid in enumerate(order, start=1)}
        self._paths = sample_paths(find_images(photos))
        if unknown := sorted({path.parts[0] for path in self._paths.values()} - set(self._mask_ids)):
            raise UserError(
                f"{first_names(unknown)} below data.root is not among the {len(self._mask_ids)} wnids of {name}; "
                "remove it, or set data.subset to what the folder holds"
            )
        index = imagenet_index()
        samples = {name: PhotoClass(photos / path, index[path.parts[0]]) for name, path in self._paths.items()}
        self._set_samples(samples, imagenet_names(), pool_size=pool_size)

    def _marks(self, sample_id: str) -> Marks:
        path = self._paths[sample_id]
        red, green, _ = read_label_map(self._masks / path.with_suffix(".png"), ("RGB",)).unbind(-1)
        own, ignored = (
            (red == number % 256) & (green == number // 256) for number in (self._mask_ids[path.parts[0]], IGNORED)
        )
        return Marks(segmentation=own, ignore=ignored)


def class_order(subset: int, photos: Path, categories: str | Path | None) -> list[str]:
    """Returns all wnids of the subset, sorted: the mask id of a wnid is its position in this list, counted from 1."""
    index = imagenet_index()
    if categories is not None:
        return require_all(read_categories(categories), subset, f"data.categories={str(categories)!r}")
    if subset == len(CLASSES_50):
        return [wnid for wnid, label in index.items() if label in CLASSES_50]
    return require_all([child.name for child in photos.iterdir() if child.name in index], subset, repr(str(photos)))


def require_all(wnids: Sequence[str], subset: int, source: str) -> list[str]:
    """Returns the wnids sorted. Raises UserError if the subset has others too: a gap would shift all later ids."""
    if len(set(wnids)) != subset:
        raise UserError(
            f"{source} names {len(set(wnids))} wnids, and the ids in the masks count all {subset} of the subset; "
            f"give data.categories=ImageNetS_categories_im{subset}.txt, which lists them"
        )
    return sorted(set(wnids))


def read_categories(file: str | Path) -> list[str]:
    """Returns the wnids of a file with one per line. Raises UserError if it cannot be read or names anything else."""
    try:
        wnids = read_text(Path(file).expanduser()).split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.categories={str(file)!r} cannot be read ({error}); give a file of wnids") from error
    if unknown := sorted(set(wnids) - set(imagenet_index())):
        names = first_names(unknown)
        raise UserError(f"data.categories={str(file)!r} names {names}; write one wnid of ImageNet-1k a line")
    return wnids
