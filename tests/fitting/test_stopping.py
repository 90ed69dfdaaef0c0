"""The rule of `explanations=auto`: its formula, images with one cue and with two, and how images of a batch end."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from inr_xai import INRAttribution, Stop
from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import Drawing
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.fitting.stack import NOT_FINITE
from inr_xai.fitting.stopping import Candidate, NoiseRule, should_keep
from inr_xai.inr import INR, FourierINR
from inr_xai.limits import Exclusion
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.types import Batch, Preprocessing
from tests.conftest import pictures
from tests.helpers.planted import CORNERS, Red, planted, square

CPU64 = {"accelerator": "cpu", "devices": 1, "precision": "64-true"}
AUTO = Method(areas=(0.0625,), explanations="auto", steps=25)
TARGETS = torch.tensor([1, 1])
NAMES = ["one", "two"]


def images() -> torch.Tensor:
    """Returns an image with one red square, and one with two."""
    return torch.stack([planted(*CORNERS[name]) for name in ("a-one", "b-two")])


def classifier() -> FrozenClassifier:
    preprocessing = Preprocessing((24, 24), 24, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return FrozenClassifier(
        Red(), preprocessing=preprocessing, normalise=False, input_mean=(0.3,) * 3, input_std=(0.25,) * 3
    )


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    """Fits both images as one stack, in double precision."""
    return fit_masks(images(), TARGETS, NAMES, classifier(), replace(AUTO, images_per_fit=2), trainer=CPU64)


def test_the_rule_agrees_with_its_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    names = ["preservation_hard_noise", "preservation_hard_photo", "chance_noise", "chance_photo", "p_full"]
    columns = {name: torch.rand(40, 3, generator=draw, dtype=torch.float64) for name in names}
    decisions = should_keep(columns, share=0.9, baselines=("noise", "photo")).tolist()
    for image in range(40):
        preservation, chance, full = 0.0, 0.0, 0.0
        for area in range(3):
            full += float(columns["p_full"][image, area]) / 3
            for name in ("noise", "photo"):
                preservation += float(columns[f"preservation_hard_{name}"][image, area]) / 6
                chance += float(columns[f"chance_{name}"][image, area]) / 6
        assert decisions[image] == (preservation >= 0.9 * full and preservation > chance)
    assert len(set(decisions)) == 2


@pytest.mark.parametrize(
    ("preservation", "chance", "share", "kept"),
    [
        (0.25, 0.0, 0.5, True),  # exactly the share
        (0.25, 0.0, 0.51, False),
        (0.25, 0.25, 0.1, False),  # no more than chance
        (0.0, 0.0, 0.0, False),
        (float("nan"), 0.0, 0.0, False),
    ],
)
def test_the_rule_at_its_edges(preservation: float, chance: float, share: float, kept: bool) -> None:
    values = {"preservation_hard_noise": preservation, "chance_noise": chance, "p_full": 0.5}
    columns = {name: torch.full((1, 2), value) for name, value in values.items()}
    assert should_keep(columns, share=share, baselines=("noise",)).tolist() == [kept]


@pytest.mark.slow
def test_each_image_has_as_many_explanations_as_it_has_cues(fitted: FitResult) -> None:
    assert fitted.counts == [1, 2]
    assert fitted.fits == [2, 3]  # one more was fitted and dropped
    assert fitted.spans == [(0, 75)] * 2
    assert fitted.masks.shape == (2, 2, 1, 24, 24)
    assert fitted.losses.shape == (2, 3, 25)
    red = images()[:, 0] == 1
    for image, count in enumerate(fitted.counts):
        masks = fitted.masks[image]
        assert not masks[count:].any()
        assert (masks[:count].float().mean((-2, -1)) - 0.0625).abs().max() < 1e-3
        hard = hard_masks(masks[:count], torch.tensor([0.0625]), generators=[torch.Generator()] * count)[:, 0]
        assert (hard.sum(0) <= 1).all()
        assert (hard & red[image]).sum((-2, -1)).min() > 20  # most of a square of 36 pixels
        assert fitted.losses[image, : count + 1].isfinite().all()
        assert fitted.losses[image, count + 1 :].isnan().all()
        for k, free in enumerate(fitted.free):
            assert free is None if k == 0 else bool(free[image].any()) == (k < count)


@pytest.mark.slow
def test_an_image_has_the_same_explanations_alone_and_in_a_batch(fitted: FitResult) -> None:
    alone = fit_masks(images()[1:2], TARGETS[1:2], NAMES[1:2], classifier(), AUTO, trainer=CPU64)
    assert (alone.counts, alone.fits, alone.spans) == ([2], [3], [(0, 75)])
    assert (alone.losses[0] - fitted.losses[1]).abs().max() < 1e-6
    assert (alone.masks[0].float() - fitted.masks[1].float()).abs().max() < 2e-3
    for network, expected in zip(alone.networks[0], fitted.networks[1], strict=True):
        assert all(torch.allclose(network[name].double(), expected[name].double(), atol=1e-6) for name in network)


@pytest.mark.slow
def test_kept_explanations_equal_those_of_a_fixed_number(fitted: FitResult) -> None:
    method = replace(AUTO, explanations=2)
    fixed = fit_masks(images()[1:], TARGETS[1:], NAMES[1:], classifier(), method, trainer=CPU64)
    assert (fixed.counts, fixed.fits, fixed.spans) == ([2], [2], [(0, 50)])
    assert (fixed.losses[0] - fitted.losses[1, :2]).abs().max() < 1e-6


@pytest.mark.slow
def test_the_python_api_pads_with_zeros_and_returns_the_counts() -> None:
    explainer = INRAttribution(Red(), input_mean=0.3, input_std=0.25, steps=25, stop=Stop(most=2))
    masks = explainer.attribute(images()[:2], target=1, areas=(0.0625,), explanations="auto", image_ids=NAMES[:2])
    assert masks.shape == (2, 2, 1, 24, 24)
    assert explainer.counts(masks).tolist() == [1, 2]
    assert not masks[0, 1].any()


def test_the_noise_rule_makes_no_more_passes_than_it_needs() -> None:
    passes = 0
    counted = classifier()

    def counting(inputs: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += len(inputs)
        return Red()(inputs)

    counted.model = counting
    rule = NoiseRule(counted, Batch(images(), TARGETS, NAMES), AUTO)
    random = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)).half()
    assert rule(Candidate(1, [1], random, None)) == [True]
    assert passes == 0
    assert rule(Candidate(2, [1], random, None)) == [False]
    assert passes == 1 + 4 + 8  # the image, four draws of noise, eight chance masks
    assert rule(Candidate(2, [1, 0], torch.stack([square(14, 14)] * 2), None)) == [True, False]


def test_an_image_that_fails_does_not_affect_others() -> None:
    broken = images()
    broken[1] = torch.inf
    result = fit_masks(broken, TARGETS, NAMES, classifier(), replace(AUTO, images_per_fit=2, steps=3))
    assert result.failures == {1: NOT_FINITE}
    assert (result.counts[1], result.fits[1]) == (0, 0)
    assert result.counts[0] >= 1


def test_room_is_known_for_each_image() -> None:
    def drawing(area: float) -> Drawing:
        method = Method(areas=(0.1, area), exclusion=Exclusion(area=area), explanations=1)
        return Drawing(method, ["a", "b"], (20, 20))

    half, more = drawing(0.5), drawing(0.51)
    for drawn in (half, more):
        assert drawn.room == [True, True]
        drawn.next(FourierINR([torch.Generator().manual_seed(i) for i in range(2)]))
    assert half.room == [True, True]
    assert more.room == [False, False]
    half.only([1])
    assert half.room == [True]
    assert half.free is not None
    assert len(half.free) == 1


def test_the_room_limits_the_number_of_explanations(tiny: FrozenClassifier) -> None:
    method = Method(areas=(0.3,), explanations="auto", steps=1)
    assert method.most == 3
    result = fit_masks(
        pictures(1), torch.tensor([0]), ["a"], tiny, method, keep=lambda candidate: [True] * len(candidate.places)
    )
    assert (result.counts, result.fits) == ([3], [3])
    assert replace(method, exclusion=Exclusion("penalty")).most == 5
    assert replace(method, areas=(0.9,)).most == 1
    assert replace(method, stop=Stop(most=2)).most == 2


class Opposed(INR[torch.Tensor]):
    """Masks of a small area are on the right, those of a larger area on the left: they do not contain each other."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(len(generators), 1, 1))

    def encode(self, coordinates: torch.Tensor) -> torch.Tensor:
        return coordinates

    def forward(self, encoded: torch.Tensor, areas: torch.Tensor) -> torch.Tensor:
        side = torch.where(areas < 0.22, 1.0, -1.0)
        return self.gain * side[None, :, None] * (encoded[:, 0] + encoded[:, 1] / 100)


def test_an_image_without_room_keeps_its_explanations(tiny: FrozenClassifier, caplog: pytest.LogCaptureFixture) -> None:
    """There are four explanations of a quarter each; for the third, a tenth of the image is free at area 0.2."""
    method = Method(areas=(0.2, 0.25), explanations=4, steps=1, inr=Opposed)
    result = fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny, method)
    assert (result.counts, result.failures) == ([2, 2], {})
    for place, area in enumerate(method.areas):
        hard = hard_masks(result.masks[:, :, place], torch.tensor([area, area]), generators=[torch.Generator()] * 2)
        assert int(hard.sum(1).max()) == 1
    for name in ("a", "b"):
        assert f"{name} ends with 2 explanations: the masks of its areas do not lie in each other" in caplog.text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"explanations": "many"},
            "explanations=many must be a whole number such as explanations=2, or explanations=auto",
        ),
        ({"stop": Stop(share=2.0)}, "stop.share=2.0 is out of range"),
        ({"stop": Stop(most=0)}, "stop.most=0 is out of range"),
    ],
)
def test_impossible_stopping_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Method(**options)  # type: ignore[arg-type]
