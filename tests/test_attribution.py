"""The Python API: Captum's convention, the same masks as on the command line, and one sentence for bad input."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from inr_xai import Exclusion, INRAttribution, Method
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.start import NoStart
from inr_xai.errors import UserError
from inr_xai.fitting.fit import fit_masks
from inr_xai.inr import PyramidINR
from inr_xai.objective import Contrastive, Deletion, Hybrid, Logit, LogProbability, Objective, ScoreFunction
from inr_xai.types import Preprocessing
from tests.conftest import pictures, tiny_network

AREAS = (0.1, 0.3)
SMALL = Preprocessing((24, 24), 24, "bilinear", (0.0,) * 3, (1.0,) * 3)
DOUBLE = {"accelerator": "cpu", "devices": 1, "precision": "64-true"}


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


@pytest.mark.parametrize("verb", ["attribute", "importance"])
@pytest.mark.slow
def test_a_tuple_gives_a_tuple_and_gradients_may_be_off_as_in_captums_metrics(verb: str) -> None:
    explain, images = getattr(INRAttribution(tiny_network(), steps=2), verb), pictures(2)
    expected = explain(images, target=1, areas=AREAS)
    with torch.no_grad():
        answer = explain((images,), target=torch.tensor([1, 1]), areas=AREAS)
    assert isinstance(answer, tuple)
    assert len(answer) == 1
    assert torch.equal(answer[0], expected)


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
        ({"target": torch.eye(5)[:2].long()}, r"got tensor\(.*one-hot vectors are no indices"),
        ({"target": torch.tensor([[0, 1]])}, "one-hot vectors are no indices"),
        ({"target": None}, r"target=None is right for .* \(head='none'\); this one gives 5 outputs"),
        ({"areas": torch.zeros(2, 2)}, "areas must be fractions of the image such as 0.2"),
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
    with pytest.raises(UserError, match=r"^head='sofmax' is not allowed"):
        INRAttribution(tiny_network(), head="sofmax")
    with pytest.raises(UserError, match="input_mean must be one number or one for each of the 3 channels; got 2"):
        INRAttribution(tiny_network(), input_mean=(0.1, 0.2), steps=1).attribute(pictures(1), target=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"input_mean": float("nan")}, r"input_mean .* got nan \(not finite, or too low\)"),
        ({"input_std": -1}, r"input_std .* got -1 \(not finite, or too low\)"),
        ({"input_mean": "grey"}, "input_mean must be one number .* got 'grey'"),
        ({"input_std": None}, "input_std must be one number .* got None"),
    ],
)
def test_statistics_that_are_none_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        INRAttribution(tiny_network(), steps=1, **options).attribute(pictures(1), target=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("mean", [np.float32(0.5), torch.tensor(0.5), np.full(3, 0.5), torch.full((3,), 0.5), [0.5]])
@pytest.mark.slow
def test_statistics_may_be_of_numpy_and_torch(mean: object) -> None:
    call = {"inputs": pictures(1), "target": 0, "areas": 0.2, "explanations": np.int64(2)}
    expected = INRAttribution(tiny_network(), input_mean=0.5, steps=1).attribute(**call)  # type: ignore[arg-type]
    masks = INRAttribution(tiny_network(), input_mean=mean, steps=1).attribute(**call)  # type: ignore[arg-type]
    assert torch.equal(masks, expected)


@pytest.mark.parametrize("change", [lambda images: images.to("meta"), lambda images: images.to_sparse()])
def test_images_without_values_or_sparse_ones_are_refused(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(UserError, match="inputs must be one floating-point tensor"):
        INRAttribution(tiny_network(), steps=1).attribute(change(pictures(2)), target=0)
    with pytest.raises(UserError, match=r"donors must be one floating-point tensor .* of torch.float32 \(torch\."):
        INRAttribution(tiny_network(), donors=change(pictures(2)), steps=1).attribute(pictures(1), target=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_is_named(value: float) -> None:
    images = pictures(2)
    images[1, 0, 0, 0] = value
    with pytest.raises(UserError, match="image 1 of 2 holds NaN or infinite values"):
        INRAttribution(tiny_network(), steps=1).attribute(images, target=0, areas=AREAS)


def test_an_image_with_nan_logits_is_named() -> None:
    network, images = tiny_network().eval(), pictures(2)

    def model(inputs: torch.Tensor) -> torch.Tensor:
        is_second = (inputs - images[1]).abs().amax((1, 2, 3)) < 1e-6
        return network(inputs).masked_fill(is_second[:, None], torch.nan)

    with pytest.raises(UserError, match="image 1 of 2: the classifier returns NaN or infinite logits"):
        INRAttribution(model, steps=1).attribute(images, target=0, areas=AREAS)


@pytest.mark.parametrize("areas", [0.25, np.float64(0.25), torch.tensor(0.25), [0.25], torch.tensor([0.25])])
@pytest.mark.slow
def test_a_single_area_may_be_a_number(areas: object) -> None:
    explainer = INRAttribution(tiny_network(), steps=1)
    expected = explainer.attribute(pictures(1), target=1, areas=(0.25,))
    assert torch.equal(explainer.attribute(pictures(1), target=1, areas=areas), expected)  # type: ignore[arg-type]
    assert torch.equal(
        explainer.importance(pictures(1), target=1, areas=areas),  # type: ignore[arg-type]
        explainer.importance(pictures(1), target=1, areas=(0.25,)),
    )


def test_a_column_of_targets_is_one_for_each_image() -> None:
    explainer = INRAttribution(tiny_network(), steps=1)
    expected = explainer.attribute(pictures(2), target=[3, 1], areas=AREAS)
    assert torch.equal(explainer.attribute(pictures(2), target=torch.tensor([[3], [1]]), areas=AREAS), expected)


@pytest.mark.parametrize(
    ("donors", "sentence"),
    [
        ((255 * pictures(3)).byte(), "got .* of torch.uint8"),
        (pictures(3).numpy(), "p x c x h x w; got ndarray"),
        (pictures(1)[0], r"p x c x h x w; got \(3, 24, 24\) of torch.float32"),
        (pictures(1), "two or more images"),
        (pictures(3, side=32), r"the channels and the size of the inputs, \(3, 24, 24\); got \(3, 32, 32\)"),
        (pictures(3)[:, :1], r"got \(1, 24, 24\)"),
        (pictures(3).where(pictures(3) < 0.9, torch.nan), "donor . of 3 holds NaN"),
        (255 * pictures(3), r"donors lie in \[.*\] and those of the inputs in \[.*\]"),
        ((pictures(3) - 0.45) / 0.22, "normalised as they are"),
    ],
)
def test_donors_are_checked_as_the_inputs_are(donors: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        INRAttribution(tiny_network(), steps=1, donors=donors).attribute(pictures(1), target=0)


@pytest.mark.parametrize("transform", [lambda x: x, lambda x: (x - 0.45) / 0.22, lambda x: 255 * x])
@pytest.mark.slow
def test_donors_in_the_units_of_the_inputs_are_taken(transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
    images, donors = transform(pictures(1)), transform(pictures(4, seed=3))
    with_donors = INRAttribution(tiny_network(), steps=5, donors=donors).attribute(images, target=0)
    assert not torch.equal(with_donors, INRAttribution(tiny_network(), steps=5).attribute(images, target=0))


def test_donors_that_are_all_the_image_itself_are_refused() -> None:
    with pytest.raises(UserError, match="every donor is the image that is explained"):
        INRAttribution(tiny_network(), steps=1, donors=pictures(1).repeat(3, 1, 1, 1)).attribute(pictures(1), target=0)


def test_donors_of_other_ranges_are_refused_for_normalised_inputs_too() -> None:
    images = (pictures(1) - 0.45) / 0.22
    for donors in (pictures(3), 255 * pictures(3)):
        with pytest.raises(UserError, match="in the units of the inputs"):
            INRAttribution(tiny_network(), steps=1, donors=donors).attribute(images, target=0)


class Signs(nn.Module):
    """A network of one logit z, or of the equivalent two, -z and z."""

    def __init__(self, *, both: bool) -> None:
        super().__init__()
        self.network, self.both = tiny_network(1), both

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.network(images)
        return torch.cat([-z, z], 1) if self.both else z


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.slow
def test_a_single_logit_explains_both_of_its_classes(target: int) -> None:
    single, pair = (INRAttribution(Signs(both=both), head="sigmoid", steps=4) for both in (False, True))
    masks = single.attribute(pictures(2), target=target, areas=AREAS)
    assert torch.equal(masks, pair.attribute(pictures(2), target=target, areas=AREAS))
    assert not torch.equal(masks, single.attribute(pictures(2), target=1 - target, areas=AREAS))


@pytest.mark.parametrize("objective", [Deletion(), Hybrid()], ids=["deletion", "hybrid"])
@pytest.mark.parametrize("score", [LogProbability(), Contrastive()], ids=["log_probability", "contrastive"])
@pytest.mark.slow
def test_probabilities_give_the_masks_of_their_logits(objective: Objective, score: ScoreFunction) -> None:
    # A gradient's map is that of the logits or that of the probabilities, so a start would differ.
    method = Method(steps=6, areas=AREAS, objective=objective, score=score, start=NoStart())
    images, targets, network = pictures(1).double(), torch.tensor([2]), tiny_network().double()
    fits = []
    for model, head in ((network, "softmax"), (nn.Sequential(network, nn.Softmax(1)), "probabilities")):
        classifier = FrozenClassifier(model, preprocessing=SMALL, head=head, normalise=False)
        fits.append(fit_masks(images, targets, ["a"], classifier, method, trainer=DOUBLE))
    assert (fits[0].masks - fits[1].masks).abs().max() < 1e-3  # a unit in the last place of what is stored
    torch.testing.assert_close(fits[0].losses, fits[1].losses, rtol=1e-5, atol=1e-6)


def test_sigmoids_give_the_masks_of_their_logits() -> None:
    network = tiny_network().double()
    sigmoids = nn.Sequential(network, nn.Sigmoid())
    logits = INRAttribution(network, head="sigmoid", steps=6, start=NoStart())
    probabilities = INRAttribution(sigmoids, head="probabilities", steps=6, start=NoStart())
    images = pictures(1).double()
    masks = [explainer.attribute(images, target=2, areas=AREAS) for explainer in (logits, probabilities)]
    assert (masks[0] - masks[1]).abs().max() < 2e-3


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.slow
def test_a_scalar_score_is_explained_without_a_target(flat: bool) -> None:
    network = tiny_network(1).eval()
    options = {"steps": 6, "start": NoStart()}
    explainer = INRAttribution(lambda x: network(x)[:, 0] if flat else network(x), head="none", **options)
    masks = explainer.attribute(pictures(1), areas=(0.2,))
    assert torch.equal(masks, explainer.attribute(pictures(1), target=0, areas=(0.2,)))
    # The score itself is raised, whatever `score` is: the masks are those of the logit of the only class.
    logit = INRAttribution(network, head="sigmoid", score=Logit(), **options)
    assert torch.equal(masks, logit.attribute(pictures(1), target=1, areas=(0.2,)))
    with pytest.raises(UserError, match="class 1 does not exist"):
        explainer.attribute(pictures(1), target=1)
    with pytest.raises(UserError, match="explanations=auto needs probabilities of classes"):
        explainer.attribute(pictures(1), explanations="auto")
    with pytest.raises(UserError, match="score=contrastive compares a class with the others"):
        INRAttribution(network, head="none", score=Contrastive(), steps=1).attribute(pictures(1))


def test_of_several_scores_one_must_be_named() -> None:
    explainer = INRAttribution(tiny_network(), head="none", steps=1)
    assert explainer.attribute(pictures(1), target=3, areas=(0.2,)).shape == (1, 1, 1, 24, 24)
    with pytest.raises(UserError, match="this one gives 5 outputs under head='none'"):
        explainer.attribute(pictures(1))


class Doubled(ScoreFunction):
    """A score of a user's own, which is told whether the head is a sigmoid."""

    told: ClassVar[list[bool]] = []

    def evidence(self, logits: torch.Tensor, targets: torch.Tensor, *, sigmoid: bool) -> torch.Tensor:
        self.told.append(sigmoid)
        return 2 * logits.gather(1, targets[:, None])[:, 0]

    def absence(self, logits: torch.Tensor, targets: torch.Tensor, *, sigmoid: bool) -> torch.Tensor:
        return -self.evidence(logits, targets, sigmoid=sigmoid)


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "probabilities", "none"])
def test_a_score_of_the_users_is_called_as_ever(head: str) -> None:
    Doubled.told.clear()
    model = nn.Sequential(tiny_network(), nn.Softmax(1)) if head == "probabilities" else tiny_network()
    INRAttribution(model, head=head, score=Doubled(), steps=1).attribute(pictures(1), target=0, areas=(0.2,))
    assert Doubled.told == [head == "sigmoid"]


@pytest.mark.parametrize("size", [(24, 24), (24, 32)])
def test_a_classifier_is_examined_once_for_each_size_of_inputs(size: tuple[int, int]) -> None:
    network, seen = tiny_network().eval(), []
    explainer = INRAttribution(lambda x: (seen.append(tuple(x.shape)), network(x))[1], steps=1)
    images = torch.nn.functional.interpolate(pictures(2), size=size)
    explainer.attribute(images, target=0, areas=(0.2,))
    first, seen[:] = list(seen), []
    explainer.attribute(images, target=0, areas=(0.2,))
    assert first == [(12, 3, *size), *seen]


def test_half_precision_inputs_are_fitted_in_single_precision() -> None:
    masks = INRAttribution(tiny_network(), steps=2).attribute(pictures(1).half(), target=0, areas=AREAS)
    assert masks.dtype == torch.float16
    torch.testing.assert_close(masks.float().mean((-2, -1))[0, 0], torch.tensor(AREAS), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("options", "call", "words"),
    [
        ({"head": "softmax"}, {"target": 0}, "set head='sigmoid' if it is the logit of a class"),
        ({"head": "none"}, {"target": 3}, r"check the target \(an index from 0\)"),
        ({"head": "none"}, {"target": 0, "explanations": "auto"}, "with head='none' the outputs are scores"),
        ({"head": "none", "nested": True}, {"target": 0}, r"use inr=partial\(FeatureGridINR, conditioning='none'\)"),
        (
            {"head": "none", "inr": partial(PyramidINR, conditioning="film")},
            {"target": 0},
            "use conditioning='none', or inr=FeatureGridINR",
        ),
        ({"head": "none", "exclusion": Exclusion("exclude", 2.0)}, {"target": 0}, r"or None \(the largest\)"),
    ],
)
def test_messages_speak_of_arguments(options: dict[str, Any], call: dict[str, Any], words: str) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 1))
    with pytest.raises(UserError, match=words) as caught:
        INRAttribution(model, steps=1, **options).attribute(torch.rand(2, 3, 8, 8), **call)
    for word in ("classifier.", "data.", "null", "=true", "=false", "inr.", "=film", "=none", "=pyramid"):
        assert word not in str(caught.value)
