"""Mosaics of photos of different classes: a map for one class should stay in the cell of its photo.

The data of the grid pointing game: Boehle, Fritz, Schiele, "Convolutional Dynamic Alignment Networks for Interpretable
Classifications", CVPR 2021; Rao, Boehle, Schiele, "Towards Better Understanding Attribution Methods", CVPR 2022.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.data.files import read_text
from inr_xai.data.labels import check_selection, is_count
from inr_xai.data.outage import DataFolders
from inr_xai.data.pools import POOL_SIZE, is_synthetic, load_synthetic, split_pools
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Frame, ImageData, Images, Preprocessing, Sample


@dataclass(frozen=True)
class MosaicCell:
    """A cell of a mosaic, whose class is explained.

    Args:
        photos: ids of the photos of the mosaic, row by row.
        place: position of the cell among them.
    """

    photos: tuple[str, ...]
    place: int


class Grid:
    """Mosaics of side x side photos, each as the classifier sees it alone, with a cell whose class is explained.

    A mosaic is `side` times as high and wide as the classifier's input, so the classifier must take inputs of any size.
    Mosaic i is drawn from (seed, i) and the photos alone, so a larger `count` only adds mosaics. Sample ids name the
    mosaic and the cell: mosaic-00003@2 is explained for the class of the third photo of mosaic 3.

    Args:
        source: data set of the photos.
        photos: photo id -> class of the photos that may be drawn, of which the classifier should be sure; or a file
            of them, see `read_photos`.
        side: cells per row and column.
        count: number of mosaics.
        seed: seed of the draws.
        targets_per_mosaic: how many cells of each mosaic are explained, one sample for each.
        limit, every: explain every n-th sample, and at most `limit` of them.

    Raises:
        UserError: an option that is not allowed, or photos that make no mosaic.
    """

    def __init__(
        self,
        source: ImageData,
        photos: str | Path | Mapping[str, int],
        *,
        side: int = 2,
        count: int = 30,
        seed: int = 0,
        targets_per_mosaic: int = 1,
        limit: int | None = None,
        every: int = 1,
    ):
        check_selection(limit=limit, every=every)
        _check(side=side, count=count, targets_per_mosaic=targets_per_mosaic)
        self.targets: str | int = "label"  # the class of the cell's photo
        self.limit, self.every, self.side, self.seed = limit, every, side, seed
        self.photos = dict(photos) if isinstance(photos, Mapping) else read_photos(photos)
        self._source = source
        _check_photos(self.photos, source, cells=side**2)
        mosaics = [self._draw(index) for index in range(count)]
        self.cells: dict[str, MosaicCell] = {
            f"mosaic-{index:05d}@{place}": MosaicCell(mosaic, place)
            for index, mosaic in enumerate(mosaics)
            for place in self._places(index)[:targets_per_mosaic]
        }
        # A photo of a mosaic must not be in a pool: its pixels could be replaced by themselves.
        used = {name for mosaic in mosaics for name in mosaic}
        self._pools = split_pools([name for name in source.ids if name not in used], POOL_SIZE)

    @property
    def ids(self) -> list[str]:
        """All sample ids in sorted order, before `every`, `limit` and shards select from them."""
        return sorted(self.cells)

    @property
    def class_names(self) -> list[str] | None:
        """The class names of the source."""
        return self._source.class_names

    @property
    def scoring_ids(self) -> list[str]:
        """Ids of the photos that serve as the scoring baseline `photo`; they are in no mosaic, and as large as one."""
        return self._pools[0]

    @property
    def donor_ids(self) -> list[str]:
        """Ids of the photos that a fit may use as donors, of the same kind; disjoint from `scoring_ids`."""
        return self._pools[1]

    @property
    def folders(self) -> DataFolders | None:
        """The folders of the source; None if it has none."""
        return getattr(self._source, "folders", None)

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        """Returns a mosaic with the class of its cell, segmented by that cell; or a pool's photo at a mosaic's size."""
        if sample_id not in self.cells:
            enlarged = mosaic_preprocessing(preprocessing, self.side)
            return (load_synthetic if is_synthetic(sample_id) else self._source.load)(sample_id, enlarged)
        cell = self.cells[sample_id]
        image = tiled(torch.stack([self._source.load(name, preprocessing).image for name in cell.photos]), self.side)
        size = (image.shape[-2], image.shape[-1])
        return Sample(
            image=image,
            target=self.photos[cell.photos[cell.place]],
            sample_id=sample_id,
            frame=Frame(original=size, resized=size, top=0, left=0, size=size),
            segmentation=_region(cell.place, self.side, size),
        )

    def _draw(self, index: int) -> tuple[str, ...]:
        """Draws the photos of a mosaic: all photos are put in random order, and the first of each class is used."""
        names = sorted(self.photos)
        order = torch.randperm(len(names), generator=generator(self.seed, "mosaic", index)).tolist()
        first_of_class: dict[int, str] = {}
        for name in (names[place] for place in order):
            first_of_class.setdefault(self.photos[name], name)
        return tuple(first_of_class.values())[: self.side**2]

    def _places(self, index: int) -> list[int]:
        """Draws the order in which the cells of a mosaic are explained."""
        return torch.randperm(self.side**2, generator=generator(self.seed, "cell", index)).tolist()


def mosaic_of(sample_id: str) -> str:
    """Returns the mosaic of a cell.

    >>> mosaic_of("mosaic-00003@2")
    'mosaic-00003'
    """
    return sample_id.partition("@")[0]


def tiled(images: Images, side: int) -> Float[Tensor, "c i j"]:
    """Returns one image of side x side images, row by row.

    >>> tiled(torch.arange(4.0).reshape(4, 1, 1, 1), 2)
    tensor([[[0., 1.],
             [2., 3.]]])
    """
    rows = images.unflatten(0, (side, side))
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)


def mosaic_preprocessing(preprocessing: Preprocessing, side: int) -> Preprocessing:
    """Returns the preprocessing that makes one photo as large as a mosaic."""
    resize, (height, width) = preprocessing.resize, preprocessing.size
    larger = resize * side if isinstance(resize, int) else (resize[0] * side, resize[1] * side)
    return replace(preprocessing, size=(height * side, width * side), resize=larger)


def read_photos(file: str | Path) -> dict[str, int]:
    """Returns photo id -> class index from a JSON file {"photos": {id: class, ...}}. Raises UserError if it is none."""
    path = Path(file).expanduser()
    remedy = "benchmarks/gridpg.py --choose writes such a file"
    try:
        photos = json.loads(read_text(path))["photos"]
        indices = {str(name): int(target) for name, target in photos.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"data.photos={str(file)!r} is no list of photos ({type(error).__name__}: {error}); {remedy}"
        ) from error
    return indices


def _region(place: int, side: int, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Returns True on one cell of a mosaic."""
    height, width = (pixels // side for pixels in size)
    top, left = place // side * height, place % side * width
    region = torch.zeros(size, dtype=torch.bool)
    region[top : top + height, left : left + width] = True
    return region


def _check(*, side: int, count: int, targets_per_mosaic: int) -> None:
    if not is_count(side) or side < 2:
        raise UserError(f"data.side={side!r} makes no mosaic; give a whole number from 2")
    if not is_count(count):
        raise UserError(f"data.count={count!r} is not allowed; give a whole number of mosaics from 1")
    if not is_count(targets_per_mosaic) or targets_per_mosaic > side**2:
        raise UserError(
            f"data.targets_per_mosaic={targets_per_mosaic!r} is not allowed; give 1 to {side**2}, the number of cells"
        )


def _check_photos(photos: Mapping[str, int], source: ImageData, *, cells: int) -> None:
    unknown = sorted(photos.keys() - set(source.ids))
    if unknown:
        raise UserError(
            f"data.photos names {unknown[0]!r}, which data.source does not have ({len(unknown)} such photos); "
            "give the folder that the list was made from, or make the list anew"
        )
    classes = len(set(photos.values()))
    if classes < cells:
        raise UserError(
            f"data.photos has photos of {classes} classes, and a mosaic shows {cells} different ones; give more "
            "photos, or a smaller data.side"
        )
