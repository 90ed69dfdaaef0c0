"""The sheet and the curve of a comparison: what is seen where, and that a picture is written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from inr_xai.compare import figures as module
from inr_xai.compare.figures import KeptRegion, Photo, draw_curve, draw_sheet
from inr_xai.figures.palette import COLOURS
from inr_xai.metrics import Interval

AREAS = (0.25, 0.5)
RED = (255, 0, 0)
NAN = float("nan")


def red(side: int = 8) -> torch.Tensor:
    return torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1).expand(3, side, side)


def upper_parts(scores: tuple[float, float] = (0.25, 0.5)) -> KeptRegion:
    """A method that keeps the upper quarter at the first area, and the upper half at the second."""
    hard = torch.zeros(2, 8, 8, dtype=torch.bool)
    hard[0, :2], hard[1, :4] = True, True
    return KeptRegion(hard, scores)


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


def stretches(line: np.ndarray) -> int:
    """How many stretches of True there are."""
    return int(np.diff(np.concatenate([[0], line.astype(int), [0]])).clip(min=0).sum())


def test_a_sheet_has_a_picture_of_each_photo_method_and_area(tmp_path: Path) -> None:
    file = tmp_path / "figures" / "sheet.png"
    photos = [Photo(red(), "tench", 0.5)] * 3
    draw_sheet(
        photos, ["ours", "disc"], [{"ours": upper_parts(), "disc": upper_parts()}] * 3, areas=AREAS, file=file, width=1
    )
    seen = (pixels(file) == RED).all(-1)
    assert stretches(seen.any(0)) == 1 + 2 * 2
    assert stretches(seen.any(1)) == 3
    # At 120 dots an inch: three rows of a whole photo and of what is kept.
    assert seen.sum() == pytest.approx(3 * 120**2 * (1 + 2 * sum(AREAS)), rel=0.03)
    assert [path.name for path in file.parent.iterdir()] == ["sheet.png"]


def test_a_method_without_a_map_leaves_its_place_and_no_other(tmp_path: Path) -> None:
    photos = [Photo(red(), "tench", 0.5)] * 2
    rows = [{"ours": upper_parts(), "disc": upper_parts()}, {"disc": upper_parts()}]
    draw_sheet(photos, ["ours", "disc"], rows, areas=AREAS, file=tmp_path / "sheet.png", width=1)
    seen = (pixels(tmp_path / "sheet.png") == RED).all(-1)
    upper, lower = np.array_split(seen, 2)
    assert stretches(upper.any(0)) == 5
    assert stretches(lower.any(0)) == 3
    assert np.array_equal(np.flatnonzero(lower.any(0))[-100:], np.flatnonzero(upper.any(0))[-100:])


def test_a_sheet_of_one_method_and_area_shows_grey_photos_of_any_shape(tmp_path: Path) -> None:
    photo = Photo(torch.zeros(1, 8, 16), "a_{class}^of $many$ letters, _and_ names", 0.5)
    everything = KeptRegion(torch.ones(1, 8, 16, dtype=torch.bool), [NAN])
    draw_sheet([photo], ["_peculiar_$method_with_a_long_name"], [{}], areas=[0.5], file=tmp_path / "none.png")
    draw_sheet([photo], ["_$"], [{"_$": everything}], areas=[0.5], file=tmp_path / "one.png", width=1)
    black = (pixels(tmp_path / "one.png") == 0).all(-1)
    rows = np.flatnonzero(black.sum(1) > 200)
    assert len(rows) == pytest.approx(60, abs=2)  # half as tall as wide
    assert pixels(tmp_path / "none.png").shape[0] > 0


def test_the_best_score_is_as_it_is_written() -> None:
    assert module._best([0.2, NAN, 0.714, 0.71]) == "0.71"
    assert module._best([0.0]) == "0.00"
    assert module._best([NAN]) is None
    assert module._best([]) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("tench", "tench"),
        ("black widow", "black widow"),
        ("black widow, a spider", "black widow…"),
        ("x" * 30, "x" * 12 + "…"),
    ],
)
def test_long_class_names_are_cut(name: str, shown: str) -> None:
    assert module._shortened(name, 13) == shown


def test_what_does_not_fit_together_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    photo, other = Photo(red(), "tench", 0.5), Photo(red(9), "tench", 0.5)
    file = tmp_path / "sheet.png"
    with pytest.raises(ValueError, match="a row per photo"):
        draw_sheet([photo, photo], ["ours"], [{"ours": upper_parts()}], areas=AREAS, file=file)
    with pytest.raises(ValueError, match="at least one photo"):
        draw_sheet([], ["ours"], [], areas=AREAS, file=file)
    with pytest.raises(ValueError, match="one size"):
        draw_sheet([photo, other], ["ours"], [{}, {}], areas=AREAS, file=file)
    with pytest.raises(ValueError, match="of 'ours'"):
        draw_sheet([photo], ["ours"], [{"ours": upper_parts()}], areas=[0.25], file=file)
    assert not file.exists()


def test_a_curve_is_written_whatever_its_points(tmp_path: Path) -> None:
    rising = [(50.0, Interval(0.2, 0.1, 0.3)), (400.0, Interval(0.4, 0.3, 0.5))]
    points = {
        "inr": rising,
        "disc": [(0.0, Interval(0.1, 0.05, 0.15))],
        "_one $photo": [(3200.0, Interval(0.2, NAN, NAN))],
        "failed": [(10.0, Interval(NAN, NAN, NAN))],
        "none": [],
    }
    draw_curve(points, file=tmp_path / "curve.png")
    draw_curve(points | {"inr": rising[::-1]}, file=tmp_path / "turned.png")
    drawn = pixels(tmp_path / "curve.png")
    assert np.array_equal(drawn, pixels(tmp_path / "turned.png"))
    for place in range(3):
        colour = [int(COLOURS[place][1 + 2 * i : 3 + 2 * i], 16) for i in range(3)]
        assert (drawn == colour).all(-1).sum() > 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "turned.png"]


def test_bars_reach_from_end_to_end_of_the_interval() -> None:
    axis = Figure().subplots()
    points = [(400.0, Interval(0.4, 0.3, 0.6)), (50.0, Interval(0.2, 0.15, 0.22)), (800.0, Interval(0.5, 0.6, 0.7))]
    line, _, (bars,) = module._draw_line(axis, 0, points)
    assert line.get_xydata().tolist() == [[50, 0.2], [400, 0.4], [800, 0.5]]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    # If the value lies below its interval, the bar begins at the value.
    assert ends == [pytest.approx([0.15, 0.22]), pytest.approx([0.3, 0.6]), pytest.approx([0.5, 0.7])]
