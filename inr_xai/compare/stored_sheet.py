"""The sheet of pictures of a comparison, drawn from stored maps and rows: nothing is fitted or scored for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from inr_xai.compare.comparison import ComparedPhoto, ComparisonContext, MapMaker
from inr_xai.compare.figures import KeptRegion, Photo, draw_sheet
from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.scorer import harden
from inr_xai.compare.store import RowStore, numbers
from inr_xai.data.labels import class_label
from inr_xai.errors import UserError


def draw_stored_sheet(
    context: ComparisonContext,
    explainers: Mapping[str, Explainer],
    image_ids: Sequence[str],
    *,
    maker: MapMaker,
    rows: RowStore,
    areas: Sequence[float],
    file: Path,
) -> None:
    """Draws what each method keeps of each photo at some of the areas; photos that cannot be read are left out.

    Raises:
        UserError: the methods were not compared at one of these areas, or no photo can be read.
    """
    places = [_place(area, context.areas) for area in areas]
    rows_of_methods = {name: rows.read(name) for name in explainers}
    photos, regions = [], []
    for image_id in image_ids:
        try:
            photo = ComparedPhoto(context, image_id)
        except (UserError, OSError):
            continue
        regions_of_photo = {}
        for name, explainer in explainers.items():
            maps = maker.stored(name, explainer, photo.target, image_id)
            scored = rows_of_methods[name].get(image_id, [])
            if maps is not None and len(scored) == len(context.areas):
                hard = harden(maps, context.areas, image_id, seed=context.seed)[0]
                scores = [row["preservation_hard_mean"] for row in numbers(scored)]
                regions_of_photo[name] = KeptRegion(hard[places], [scores[place] for place in places])
        photos.append(Photo(photo.image, class_label(context.classifier.class_names, photo.target), photo.p_full()))
        regions.append(regions_of_photo)
    if not photos:
        raise UserError("none of the photos of the sheet can be read; see the failed rows of the results")
    draw_sheet(photos, list(explainers), regions, areas=areas, file=file)


def _place(area: float, areas: Sequence[float]) -> int:
    if area not in areas:
        raise UserError(f"--sheet-areas holds {area:g}, at which nothing was compared; choose some of {list(areas)}")
    return list(areas).index(area)
