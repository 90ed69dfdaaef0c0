"""The sheet of pictures of a comparison, from stored maps and rows: nothing is fitted or scored for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from inr_xai.compare.comparison import ComparedPhoto, ComparisonContext, MapMaker
from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.scorer import harden
from inr_xai.compare.sheet import KeptRegion, Photo, draw_photos
from inr_xai.compare.store import Rows, numbers
from inr_xai.errors import UserError


def draw_sheet(
    bench: ComparisonContext,
    explainers: Mapping[str, Explainer],
    image_ids: Sequence[str],
    *,
    maker: MapMaker,
    rows: Rows,
    areas: Sequence[float],
    file: Path,
) -> None:
    """Draws what each method keeps of each photo at some of the areas; photos that cannot be read are left out.

    Raises:
        UserError: an area at which the methods were not compared, or no photo can be read.
    """
    places = [_place(area, bench.areas) for area in areas]
    tables = {name: rows.read(name) for name in explainers}
    photos, kept = [], []
    for image_id in image_ids:
        try:
            subject = ComparedPhoto(bench, image_id)
        except (UserError, OSError):
            continue
        of_photo = {}
        for name, explainer in explainers.items():
            maps = maker.stored(name, explainer, subject.target, image_id)
            scored = tables[name].get(image_id, [])
            if maps is not None and len(scored) == len(bench.areas):
                hard = harden(maps, bench.areas, image_id, seed=bench.seed)[0]
                scores = [row["preservation_hard_mean"] for row in numbers(scored)]
                of_photo[name] = KeptRegion(hard[places], [scores[place] for place in places])
        names = bench.data.class_names
        class_name = f"class {subject.target}" if names is None else names[subject.target]
        photos.append(Photo(subject.image, class_name, subject.p_full()))
        kept.append(of_photo)
    if not photos:
        raise UserError("none of the photos of the sheet can be read; see the failed rows of the results")
    draw_photos(photos, list(explainers), kept, areas=areas, file=file)


def _place(area: float, areas: Sequence[float]) -> int:
    if area not in areas:
        raise UserError(f"--sheet-areas holds {area:g}, at which nothing was compared; choose some of {list(areas)}")
    return list(areas).index(area)
