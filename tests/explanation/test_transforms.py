"""What is known of a transform, against what the transform itself makes of a picture."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor
from torchvision import models, transforms
from torchvision.transforms import v2

from inr_xai.data.transform import to_input
from inr_xai.errors import UserError
from inr_xai.explanation.transforms import given_transform, statistics
from inr_xai.types import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photo(width: int = 90, height: int = 70) -> Image.Image:
    """A smooth picture with a gradient in each channel."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [rows / height, columns / width, (rows + columns) / (height + width)]
    return Image.fromarray((255 * np.stack(channels, axis=-1)).astype(np.uint8))


TRANSFORMS = {
    "weights": models.ResNet18_Weights.DEFAULT.transforms(),
    "compose": transforms.Compose(
        [transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    ),
    "squash": transforms.Compose([transforms.Resize((24, 48)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]),
    "v2": v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(40, antialias=True),
            v2.CenterCrop((32, 40)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    ),
    "timm": timm.data.create_transform(
        input_size=(3, 64, 64), interpolation="bicubic", crop_pct=0.9, mean=MEAN, std=STD
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_known_transforms_have_their_geometry_and_statistics(name: str) -> None:
    transform, picture = TRANSFORMS[name], photo()
    known = given_transform(transform, picture)
    assert known.callable is None
    theirs: Tensor = transform(picture)
    image, frame = known.apply(picture)
    mean, std = (torch.tensor(of)[:, None, None] for of in (MEAN, STD))
    torch.testing.assert_close((image - mean) / std, theirs, rtol=0, atol=0.1)
    assert frame.original == (70, 90)
    assert frame.size == tuple(theirs.shape[1:])


def test_of_any_other_callable_the_statistics_are_found() -> None:
    def own(picture: Image.Image) -> Tensor:
        values = torch.from_numpy(np.array(picture.resize((20, 10)))).permute(2, 0, 1).float()
        return (values / 255 - 0.25) / torch.tensor([0.5, 2.0, 0.125])[:, None, None]

    known = given_transform(own, photo())
    assert known.callable is own
    assert known.preprocessing.mean == pytest.approx((0.25,) * 3, abs=1e-6)
    assert known.preprocessing.std == pytest.approx((0.5, 2.0, 0.125), abs=1e-6)
    image, frame = known.apply(photo())
    assert frame.original == frame.size == (10, 20)
    expected, _ = to_input(photo(), Preprocessing((10, 20), (10, 20), "bicubic", (0.0,) * 3, (1.0,) * 3))
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)


def test_a_compose_with_other_steps_is_not_guessed() -> None:
    """A shorter side without a crop, a flip, and a padding: their result is taken as it is."""
    tail = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    for first in (transforms.Resize(40), transforms.RandomHorizontalFlip(1.0), transforms.Pad(4)):
        transform = transforms.Compose([first, *tail])
        known = given_transform(transform, photo())
        assert known.callable is transform
        assert known.preprocessing.mean == pytest.approx(MEAN, abs=1e-5)
        image, _ = known.apply(photo())
        mean, std = (torch.tensor(of)[:, None, None] for of in (MEAN, STD))
        torch.testing.assert_close((image - mean) / std, transform(photo()), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ("resize", "is no transform"),
        (lambda picture: picture, "must return a floating tensor of c x h x w for a picture; got Image"),
        (lambda picture: torch.zeros(2, 3, 4, 4), r"got \(2, 3, 4, 4\) of torch.float32"),
        (lambda picture: 1 / 0, r"fails for a picture \(division by zero\)"),
        (lambda picture: transforms.ToTensor()(picture) ** 2, "does more to colours than"),
        (lambda picture: -transforms.ToTensor()(picture), "does more to colours than"),
    ],
)
def test_what_is_no_transform_is_refused(transform: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        given_transform(transform, photo())


def test_statistics_of_a_grey_transform() -> None:
    mean, std = statistics(lambda picture: transforms.ToTensor()(picture.convert("L")) * 4 - 1, (8, 8))
    assert (mean, std) == (pytest.approx((0.25,)), pytest.approx((0.25,)))
