"""A user's own score: it is explained as a class would be, finds what it depends on, and is refused in one sentence."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inr_xai import INRAttribution, Method, fit_masks
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.scored import NOT_FINITE, ScoredModel, examine_score, scored
from inr_xai.classifier.start import NoStart
from inr_xai.errors import UserError
from inr_xai.objective import Deletion, Hybrid, Logit, Objective, Preservation
from inr_xai.types import Batch
from tests.conftest import pictures, tiny_classifier, tiny_network
from tests.helpers.planted import SQUARE, planted

AREAS = (0.06,)
FIRST, SECOND = (2, 2), (14, 14)


class Colours(nn.Module):
    """How red and how blue the surroundings of each pixel are: logits b x 3 x h x w of no class, red and blue."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate")
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.0, 0, 0], [1, -1, -1], [-1, -1, 1]])[..., None, None] / 9)
            self.layer.bias.copy_(torch.tensor([0.5, 0, 0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class Output(nn.Module):
    """What a function makes of the maps of `Colours`."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.maps, self.function = Colours(), function

    def forward(self, images: Tensor) -> Any:
        return self.function(self.maps(images))


def boxes_of(maps: Tensor) -> list[dict[str, Tensor]]:
    """A dict of scores and labels for each image, one box for each window of 4 x 4 whose score is 0.1 or more."""
    scores = torch.sigmoid(10 * F.avg_pool2d(maps[:, 1], 4).flatten(1) - 5)
    return [{"scores": row[row > 0.1], "labels": torch.ones(int((row > 0.1).sum()))} for row in scores]


def largest_box(found: list[dict[str, Tensor]]) -> Tensor:
    scores = [image["scores"][image["labels"] == 1] for image in found]
    return torch.stack([values.amax() if len(values) else values.new_zeros(()) for values in scores])


def share(masks: Tensor, corner: tuple[int, int]) -> float:
    """The share of the hard mask's pixels that lie in the square at a corner; 0.06 for a random mask."""
    hard = torch.zeros(24 * 24)
    hard[masks[0, 0, 0].flatten().topk(34).indices] = 1
    y, x = corner
    return float(hard.view(24, 24)[y : y + SQUARE, x : x + SQUARE].sum() / 34)


@pytest.mark.parametrize("corner", [FIRST, SECOND])
@pytest.mark.slow
def test_a_region_of_a_segmentation_is_explained(corner: tuple[int, int]) -> None:
    region = torch.zeros(24, 24)
    region[corner[0] : corner[0] + SQUARE, corner[1] : corner[1] + SQUARE] = 1 / SQUARE**2
    explainer = INRAttribution(
        Output(lambda maps: {"out": maps}), score=lambda o: (o["out"][:, 1] * region).sum((1, 2))
    )
    masks = explainer.attribute(planted(FIRST, SECOND)[None], areas=AREAS)
    assert share(masks, corner) > 0.9


@pytest.mark.slow
def test_the_boxes_of_a_detector_are_explained() -> None:
    image = planted(SECOND)[None]
    image[..., 2:8, 2:8] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]  # as large, and blue
    masks = INRAttribution(Output(boxes_of), score=largest_box).attribute(image, areas=AREAS)
    # One window of 16 pixels, or its neighbours as well: the mask has room for 34.
    assert share(masks, SECOND) > 0.6


@pytest.mark.slow
def test_the_similarity_of_embeddings_is_explained() -> None:
    model = Output(lambda maps: (10 * F.relu(maps[:, 1:]).mean((2, 3)) + 0.5, "attention"))
    with torch.no_grad():
        query, _ = model(torch.tensor([1.0, 0, 0])[:, None, None].expand(1, 3, 24, 24))
    explainer = INRAttribution(model, score=lambda output: 10 * F.cosine_similarity(output[0], query))
    image = planted(FIRST)[None]
    image[..., 14:20, 14:20] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]  # as large, and blue
    assert share(explainer.attribute(image, areas=AREAS), FIRST) > 0.9


@pytest.mark.parametrize("objective", [Preservation(), Deletion(), Hybrid(areas=None)], ids=lambda o: type(o).__name__)
@pytest.mark.slow
def test_one_output_of_a_regression_is_explained(objective: Objective) -> None:
    model = Output(lambda maps: torch.stack([maps[:, 2].mean((1, 2)), 10 * maps[:, 1].relu().mean((1, 2))], 1))
    explainer = INRAttribution(model, score=lambda output: output[:, 1], objective=objective, steps=50)
    assert share(explainer.attribute(planted(FIRST)[None], areas=AREAS), FIRST) > 0.9


@pytest.mark.slow
def test_a_score_of_a_column_gives_the_masks_of_the_logit_of_its_class() -> None:
    options = {"steps": 6}
    images = pictures(2)
    expected = INRAttribution(tiny_network(), score=Logit(), **options).attribute(images, target=3, areas=(0.2,))
    own = INRAttribution(tiny_network(), score=lambda output: output[:, 3], **options)
    assert torch.equal(own.attribute(images, areas=(0.2,)), expected)
    assert torch.equal(own.importance((images,), areas=(0.2,))[0], own.importance(images, areas=(0.2,)))
    column = INRAttribution(tiny_network(), head="none", score=lambda output: output[:, 3:4], **options)
    assert torch.equal(column.attribute(images, areas=(0.2,)), expected)


def test_fit_masks_takes_a_score_too() -> None:
    options = {"areas": (0.2,), "steps": 4}
    images, classifier = pictures(2), tiny_classifier()
    expected = fit_masks(images, torch.tensor([3, 3]), ["a", "b"], classifier, Method(score=Logit(), **options))
    own = Method(score=lambda output: output[:, 3], **options)
    zeros = torch.zeros(2, dtype=torch.long)
    assert torch.equal(fit_masks(images, zeros, ["a", "b"], classifier, own).masks, expected.masks)


class Other:
    """A classifier that is none of the package's."""

    head, colour_mean, colour_std = "softmax", (0.5,) * 3, (0.25,) * 3

    def __call__(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    def probability(self, logits: Tensor, targets: Tensor) -> Tensor:
        return logits.softmax(1)[:, 0]

    def frozen(self, device: Any, dtype: Any) -> Any:
        return contextlib.nullcontext(self)


def test_fit_masks_takes_a_score_with_the_classifier_of_the_package_alone() -> None:
    with pytest.raises(UserError, match="a score of your own needs a FrozenClassifier; got a Other"):
        fit_masks(pictures(1), torch.tensor([0]), ["a"], Other(), Method(score=lambda output: output[:, 0]))


def test_a_scored_classifier_keeps_everything_but_the_output() -> None:
    classifier = tiny_classifier()
    own = scored(classifier, lambda output: output[:, 1])
    images = pictures(2)
    with classifier.frozen(), torch.no_grad():
        assert torch.equal(own(images), classifier(images)[:, 1:2])
    assert (own.head, own.colour_mean, own.normalise) == ("none", classifier.colour_mean, True)


def test_the_model_is_the_one_that_is_frozen_and_given_back() -> None:
    network, seen = tiny_network().train(), []

    def score(output: Tensor) -> Tensor:
        seen.append((network.training, any(p.requires_grad for p in network.parameters())))
        return output[:, 0]

    before = {name: value.clone() for name, value in network.state_dict().items()}
    INRAttribution(network, score=score, steps=2).attribute(pictures(1), areas=(0.2,))
    assert set(seen) == {(False, False)}
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


def test_the_start_is_the_gradient_of_the_score_in_a_feature_map_of_the_model() -> None:
    network, images = tiny_network().eval(), pictures(1)
    classifier = scored(FrozenClassifier(network, preprocessing=tiny_classifier().preprocessing), lambda o: o[:, 2])
    features = network[:4]((images - 0.5) / 0.25)
    gradient = torch.autograd.grad(network[4:](features)[0, 2], features)[0]
    expected = F.interpolate((gradient * features).clamp(min=0).sum(1, keepdim=True), size=24, mode="bilinear")[:, 0]
    method = Method(score=lambda output: output)
    maps, failures = method.start.maps(classifier, Batch(images, torch.tensor([0]), ["a"]), at_once=4)
    assert maps is not None
    assert not failures
    assert isinstance(classifier.model, ScoredModel)
    assert classifier.model.__self__ is network
    torch.testing.assert_close(maps, expected.detach())


def test_a_score_without_a_gradient_for_some_images_costs_these_alone() -> None:
    model = ScoredModel(nn.Flatten(), lambda output: torch.zeros(len(output)))
    inputs = torch.rand(2, 3, 4, 4, requires_grad=True)
    values = model(inputs)
    assert values.tolist() == [[0.0], [0.0]]
    (gradient,) = torch.autograd.grad(values.sum(), inputs)
    assert not gradient.any()


def forgets(output: Tensor) -> Tensor:
    raise KeyError("masks")


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (lambda o: o, r"score must return .* one number for each of the 11 images.* got a tensor of \(11, 5\)"),
        (lambda o: o[:, 0].mean(), r"score must return .* got a tensor of \(\)"),
        (lambda o: o.argmax(1), "score must return a floating tensor .* torch.int64"),
        (lambda o: 3.0, "score must return .* got an object of the type float"),
        (lambda o: {"a": o}, "score must return .* got a dict with a"),
        (lambda o: o[:, 0] * torch.nan, "image 0 of 1: score is NaN or infinite for this image"),
        (lambda o: o[:, 0].detach(), "score has no gradient for the image"),
        (lambda o: o.argmax(1).float() + 0 * o[:, 0], "score has no gradient for the image"),
        (lambda o: 0 * o[:, 0] + 2, "score is 2 for each of 11 different inputs, so it is no function of the image"),
        (
            forgets,
            r"score fails for what the model returns for 1 images, a tensor of \(1, 5\) .* \(KeyError: 'masks'\)",
        ),
        (lambda o: torch.from_numpy(o.numpy())[:, 0], "score fails .*Can't call numpy"),
    ],
)
def test_a_wrong_score_is_refused_in_one_sentence(score: Callable[[Any], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refusal:
        INRAttribution(tiny_network(), score=score, steps=1).attribute(pictures(1), areas=(0.2,))
    assert "\n" not in str(refusal.value)


def test_a_score_that_is_nan_for_a_later_image_names_the_image() -> None:
    explainer = INRAttribution(tiny_network(), score=lambda o: o[:, 0].log(), start=NoStart(), steps=1)
    explainer._examined.add((3, 24, 24))
    with torch.no_grad():
        logits = tiny_network().eval()(pictures(8))[:, 0]
    bad = int(logits.argmin())
    assert float(logits[bad]) < 0
    with pytest.raises(UserError, match=f"image 0 of 1: {NOT_FINITE}"):
        explainer.attribute(pictures(8)[bad : bad + 1], areas=(0.2,))


@pytest.mark.parametrize(("factor", "warned"), [(1.0, False), (0.01, True)])
def test_a_score_of_a_small_scale_is_warned_of(factor: float, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    examine_score(scored(tiny_classifier(), lambda output: factor * output[:, 0]), pictures(2))
    assert ("multiply it" in caplog.text) == warned


def test_a_score_may_refuse_what_no_data_set_holds() -> None:
    def score(output: Tensor) -> Tensor:
        if len(output) > 1:
            raise ValueError("no boxes")
        return output[:, 0]

    classifier = scored(tiny_classifier(), score)
    examine_score(classifier, pictures(1))
    with pytest.raises(UserError, match=r"score fails .* for 2 images.*no boxes"):
        examine_score(classifier, pictures(2))


@pytest.mark.parametrize(
    ("options", "call", "sentence"),
    [
        ({"head": "sigmoid"}, {}, "head='sigmoid' says how outputs tell classes.*leave head out"),
        ({}, {"target": 1}, "target=1 has no meaning beside a score of your own; leave target out"),
        ({}, {"explanations": "auto"}, "explanations=auto needs probabilities of classes"),
        ({"score": Logit}, {"target": 1}, "score must be an inr_xai ScoreFunction object, or a function .*got <class"),
    ],
)
def test_what_does_not_go_with_a_score_is_refused(options: dict[str, Any], call: dict[str, Any], sentence: str) -> None:
    explained = {"score": lambda o: o[:, 0], "steps": 1} | options
    with pytest.raises(UserError, match=sentence):
        INRAttribution(tiny_network(), **explained).attribute(pictures(1), **call)
