"""The sheet of a comparison is drawn from what is stored."""

from pathlib import Path

import pytest

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.store import MapCache, RowStore
from inr_xai.compare.stored_sheet import draw_stored_sheet
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from tests.helpers.comparison import Ramp, make_comparison, make_context

IDS = Synthetic(size=3).ids


def test_a_sheet_is_drawn_from_what_is_stored(
    tiny: FrozenClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"ramp": Ramp(), "broken": Ramp(strength=2, broken=IDS)}
    make_comparison(make_context(tiny), tmp_path, **methods).run(IDS[:2])
    explained = len(methods["ramp"].explained)
    maker = MapMaker(MapCache(tmp_path / "maps"), {"classifier": "tiny"})
    options = {"maker": maker, "rows": RowStore(tmp_path / "rows"), "file": tmp_path / "sheet.png"}
    draw_stored_sheet(make_context(tiny), methods, IDS[:2], areas=[0.3], **options)
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert len(methods["ramp"].explained) == explained
    data = Synthetic(size=3)
    monkeypatch.setattr(Synthetic, "class_names", ["disc"])  # the second image's class has no name
    draw_stored_sheet(make_context(tiny, data), methods, IDS[:2], areas=[0.3], **options)
    with pytest.raises(UserError, match=r"holds 0\.2, at which nothing was compared"):
        draw_stored_sheet(make_context(tiny), methods, IDS[:2], areas=[0.2], **options)
