"""An explanation is kept in a file, drawn again, and shown as HTML."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torchvision import transforms

from inr_xai import Explanation, explain, load_explanation
from inr_xai.errors import UserError
from inr_xai.explanation.explanation import NOTEBOOK_DPI, PAGE_DPI
from inr_xai.figures import save_figure
from inr_xai.runs.masks_file import pack_record
from tests.explanation.test_explain import SHORT
from tests.helpers.planted import Normalised, folder

PICTURE = re.compile('src="data:image/png;base64,([^"]*)"')


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    """An image of 24 x 24 pixels, explained twice at two areas."""
    root = folder(tmp_path_factory.mktemp("photos"))
    result = explain(Normalised(), root / "b-two.png", classes=["gr<e>y", "red"], **SHORT | {"explanations": 2})
    assert isinstance(result, Explanation)
    return result


def test_a_file_holds_everything(explained: Explanation, tmp_path: Path) -> None:
    explained.save(tmp_path / "deep" / "a.safetensors")
    again = load_explanation(tmp_path / "deep" / "a.safetensors")
    assert torch.equal(again.masks, explained.masks)
    assert explained.image is not None
    assert again.image is not None
    assert torch.equal(again.image, explained.image)  # the photo has 8 bits
    assert (repr(again), again.top, again.rows) == (repr(explained), explained.top, explained.rows)
    for area, explanation in ((0.13, 1), (0.2, 2)):
        one, other = (of.mask(area, size=48, explanation=explanation) for of in (explained, again))
        assert torch.equal(one, other)
        assert float(one.mean()) == pytest.approx(area, abs=1e-3)
    other = torch.zeros(3, 24, 24)
    assert load_explanation(tmp_path / "deep" / "a.safetensors", image=other).image is not None
    with pytest.raises(UserError, match=r"image has \(8, 8\) pixels and the masks \(24, 24\)"):
        load_explanation(tmp_path / "deep" / "a.safetensors", image=other[:, :8, :8])
    with pytest.raises(UserError, match="cannot be read"):
        load_explanation(tmp_path / "absent.safetensors")


def test_tables_hold_the_rows(explained: Explanation) -> None:
    for row in explained.rows:
        k, a = row["explanation"] - 1, explained.areas.index(row["area"])
        assert explained.kept[k, a] == row["preservation_hard_mean"]
        assert explained.removed[k, a] == row["deletion_hard_mean"]
        assert explained.chance[k, a] == row["chance"]
        assert explained.carries[k] == bool(row["carries"])
        assert (row["target_name"], row["predicted_name"], row["right"]) == ("red", "red", None)


def test_a_page_needs_no_other_file(explained: Explanation, tmp_path: Path) -> None:
    page = explained.to_html(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == page
    assert "gr&lt;e&gt;y" in page
    assert "gr<e>y" not in page
    assert page.count("<tr>") == 5  # the head, and two explanations at two areas
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")


def test_a_notebook_shows_the_table_with_a_smaller_figure(explained: Explanation) -> None:
    shown, page = explained._repr_html_(), explained.to_html()
    pictures = [Image.open(io.BytesIO(base64.b64decode(PICTURE.search(of)[1]))) for of in (shown, page)]  # type: ignore[index]
    small, large = (picture.size for picture in pictures)
    assert small[0] / large[0] == pytest.approx(NOTEBOOK_DPI / PAGE_DPI, rel=0.01)
    assert PICTURE.sub("", shown) in PICTURE.sub("", page)  # all else is the same
    assert not hasattr(explained, "_repr_png_")  # a notebook would store it a second time


@pytest.mark.slow
def test_a_figure_of_its_own_and_in_given_axes(explained: Explanation, tmp_path: Path) -> None:
    figure = explained.plot()
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    for said in (
        "b-two",
        "explained: red",
        "predicted: red",
        "explanation 1",
        "explanation 2",
        "area 6.25%",
        "area 20%",
    ):
        assert said in words
    own = Figure()
    axes = own.subplots(1, 2)
    assert explained.plot(ax=axes[1]) is own
    assert [bool(one.images) for one in axes] == [False, True]
    save_figure(figure, tmp_path / "a.pdf", "pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    record = replace(explained.record, image=None)
    (tmp_path / "a.safetensors").write_bytes(pack_record(record))
    bare = load_explanation(tmp_path / "a.safetensors")
    assert "<img" not in bare._repr_html_()
    with pytest.raises(UserError, match="the input is not stored with these masks; load_explanation"):
        bare.plot()


def test_the_frame_of_an_unknown_transform_is_not_guessed(tmp_path: Path) -> None:
    known, root = SHORT["transform"], folder(tmp_path)
    one = explain(Normalised(), root / "a-one.png", **SHORT | {"transform": lambda picture: known(picture)})
    assert one.mask(0.1).shape == (24, 24)
    with pytest.raises(UserError, match="frame='image': where the input lies in the photo is not known"):
        one.mask(0.1, frame="image")
    cropped = transforms.Compose([transforms.Resize(30), transforms.CenterCrop(24), *known.transforms[1:]])
    placed = explain(Normalised(), root / "a-one.png", **SHORT | {"transform": cropped})
    on_photo = placed.mask(0.1, frame="image")
    assert on_photo.shape == (24, 24)
    assert float(on_photo[:2].max()) == 0  # cut off by the crop
