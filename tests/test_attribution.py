"""The Python API: Captum's convention, the same masks as on the command line, and one sentence for bad input."""

import pytest
import torch
from torch import nn

from inr_xai import INRAttribution, Method
from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.fitting.fit import fit_masks
from tests.conftest import pictures, tiny_network

AREAS = (0.1, 0.3)


class Normalised(nn.Module):
    """The tiny network with the normalisation inside, for images in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - 0.5) / 0.25)


def test_masks_equal_those_of_fit_masks(tiny: FrozenClassifier) -> None:
    images, targets = pictures(2), torch.tensor([0, 1])
    method = Method(areas=AREAS, explanations=2, steps=5, seed=3)
    expected = fit_masks(images, targets, ["a", "b"], tiny, method).masks
    explainer = INRAttribution(Normalised(), input_mean=0.5, input_std=0.25, steps=5, seed=3)
    masks = explainer.attribute(images, targets, areas=AREAS, explanations=2, image_ids=["a", "b"])
    torch.testing.assert_close(masks, expected.float(), atol=1e-3, rtol=0)


def test_ids_derive_from_the_images_by_default() -> None:
    explainer = INRAttribution(tiny_network().double(), steps=3)
    images = pictures(3).double()
    together = explainer.attribute(images, target=[0, 1, 2], areas=AREAS)
    alone = explainer.attribute(images[1:2], target=1, areas=AREAS)
    torch.testing.assert_close(together[1:2], alone, atol=1e-3, rtol=0)


def test_inputs_may_be_a_tuple_and_gradients_may_be_off_as_in_captums_metrics() -> None:
    explainer, images = INRAttribution(tiny_network(), steps=2), pictures(2)
    expected = explainer.attribute(images, target=1, areas=AREAS)
    with torch.no_grad():
        assert torch.equal(explainer.attribute((images,), target=torch.tensor([1, 1]), areas=AREAS), expected)


def test_dtype_follows_the_inputs_and_any_callable_is_a_model() -> None:
    network = tiny_network().double().eval()
    masks = INRAttribution(lambda x: network(x), steps=2).attribute(pictures(1).double(), target=0, areas=AREAS)
    assert masks.dtype == torch.float64
    assert (masks.mean((-2, -1)) - torch.tensor(AREAS)).abs().max() < 1e-3


def test_the_model_is_not_changed() -> None:
    network = tiny_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    INRAttribution(network, steps=2).attribute(pictures(1), target=0, areas=AREAS)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"inputs": torch.zeros(3, 24, 24)}, r"inputs must be one floating-point tensor .* got \(3, 24, 24\)"),
        ({"inputs": torch.zeros(1, 3, 24, 24, dtype=torch.uint8)}, "inputs must be one floating-point tensor"),
        (
            {"target": torch.tensor(0.5)},
            r"target must be a class index, or one for each of the 2 images; got tensor\(0.5",
        ),
        ({"target": [0, 1, 2]}, "one for each of the 2 images"),
        ({"target": True}, "target must be a class index"),
        ({"inputs": torch.zeros(0, 3, 24, 24)}, "inputs must be one floating-point tensor .* not empty"),
        ({"areas": (1e-5,)}, "area 1e-05 is less than one pixel of a mask of 24 x 24"),
        ({"target": 9}, "class 9 does not exist: the classifier has 5 classes"),
        ({"areas": (0.1, 2.0)}, r"areas must lie in \(0, 1\)"),
        ({"areas": (0.4,), "explanations": 3}, "3 explanations of area 0.4 do not fit"),
        ({"image_ids": ["a"]}, "image_ids must name each of the 2 images; got 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change: dict[str, object], sentence: str) -> None:
    call = {"inputs": pictures(2), "target": 0, "areas": AREAS} | change
    with pytest.raises(UserError, match=sentence):
        INRAttribution(tiny_network(), steps=1).attribute(**call)  # type: ignore[arg-type]


def test_wrong_options_are_refused_by_the_constructor() -> None:
    with pytest.raises(UserError, match="stepz=3 is not an option of the method; did you mean steps"):
        INRAttribution(tiny_network(), stepz=3)
    with pytest.raises(UserError, match="steps=0 is out of range; it must be a whole number, at least 1"):
        INRAttribution(tiny_network(), steps=0)
    with pytest.raises(UserError, match=r"classifier.head='sofmax'"):
        INRAttribution(tiny_network(), head="sofmax")
    with pytest.raises(UserError, match="input_mean must be one number or one for each of the 3 channels; got 2"):
        INRAttribution(tiny_network(), input_mean=(0.1, 0.2), steps=1).attribute(pictures(1), target=0)


def test_an_image_with_nan_logits_is_named() -> None:
    images = pictures(2)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="image 1 of 2: the classifier returns NaN or infinite logits"):
        INRAttribution(tiny_network(), steps=1).attribute(images, target=0, areas=AREAS)


def test_half_precision_inputs_are_fitted_in_single_precision() -> None:
    masks = INRAttribution(tiny_network(), steps=2).attribute(pictures(1).half(), target=0, areas=AREAS)
    assert masks.dtype == torch.float16
    torch.testing.assert_close(masks.float().mean((-2, -1))[0, 0], torch.tensor(AREAS), atol=1e-3, rtol=0)
