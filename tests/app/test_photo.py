"""Photos that are dropped: what is read, and the sentence for what is not, which holds no path of the server."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from inr_xai.app import photo as module
from inr_xai.app.photo import draw_examples, read_photo
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

UNCHANGED = Preprocessing((96, 96), 96, "bilinear", (0.5,) * 3, (0.5,) * 3)


def test_a_photo_is_upright_and_named_by_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned
    Image.new("L", (8, 4)).save(tmp_path / "a b.jpg", exif=exif)
    photo = read_photo(str(tmp_path / "a b.jpg"))
    assert (photo.picture.size, photo.picture.mode, photo.name) == ((4, 8), "RGB", "a b")


def test_refusals_are_sentences_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    Image.new("RGB", (40, 30)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    Image.new("RGB", (40, 30)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match="no photo yet; drop one"):
        read_photo(None)
    monkeypatch.setattr(module, "MOST_PIXELS", 1000)
    expected = {
        "text.jpg": "cannot be read as a photo .*none of the formats",
        "cut.png": "cannot be read as a photo",
        "large.png": "it has 30 x 40 pixels, and at most 1,000 are read",
        "absent.png": "absent.png cannot be read as a photo; drop another one",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=message) as caught:
            read_photo(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
        assert str(caught.value).startswith(name)
    monkeypatch.setattr(module, "MOST_BYTES", 50)
    with pytest.raises(UserError, match="at most 0 MB are read"):
        read_photo(tmp_path / "large.png")


def test_examples_are_the_drawn_scenes_to_eight_bits(tmp_path: Path) -> None:
    examples = draw_examples(tmp_path)
    assert len(examples) == 8
    assert len({path for path, _ in examples}) == 8
    path, kind = examples[1]
    data = Synthetic(size=2)
    assert kind == data.class_names[1]
    image = data.load(data.ids[1], UNCHANGED).image
    assert torch.allclose(read_photo(path).input_of(UNCHANGED), image, atol=0.51 / 255)
