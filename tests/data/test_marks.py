"""Marks on photos: masks that turn with their photo, and boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from inr_xai.data import read_image
from inr_xai.data.marks import fill_boxes, stored_size, upright
from inr_xai.errors import UserError

TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_mask_is_turned_with_its_photo(tmp_path: Path, orientation: int) -> None:
    """The mask of the white pixels of a photo has the white pixels of the upright photo."""
    file = tmp_path / "photo.png"
    corner = np.zeros((16, 24), dtype=np.uint8)
    corner[:5, :3], corner[10:, 9] = 255, 255
    picture = Image.fromarray(corner)
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    picture.save(file, exif=picture.getexif())
    turned = upright(torch.from_numpy(corner > 0), file)
    assert stored_size(file) == (16, 24)
    assert turned.tolist() == TURNS[orientation](corner > 0).tolist()
    assert turned.tolist() == (np.array(read_image(file))[..., 0] > 0).tolist()


def test_boxes_are_filled_and_refused_beyond_the_photo() -> None:
    assert fill_boxes([(0, 0, 1, 0), (1, 1, 1, 1)], (2, 2)).tolist() == [[True, True], [False, True]]
    for box in [(-1, 0, 1, 1), (0, 0, 2, 1), (0, 0, 1, 2), (1, 0, 0, 0), (0, 1, 0, 0)]:
        with pytest.raises(UserError, match=r"does not lie within the photo of 2 x 2 pixels"):
            fill_boxes([box], (2, 2))
