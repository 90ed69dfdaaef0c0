"""The rule that ends `explanations=auto`: its formula, images with one cue and with two, and raggedness of a batch."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from inr_xai import INRAttribution, Stop
from inr_xai.area import AreaProjection
from inr_xai.classifier import FrozenClassifier, demo
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import Drawing
from inr_xai.fitting.fit import NOT_FINITE, FitResult, fit_masks
from inr_xai.fitting.run_scorer import RunScorer
from inr_xai.fitting.stopping import Candidate, NoiseRule, should_keep
from inr_xai.inr import INR, FourierINR
from inr_xai.limits import Exclusion
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.types import Preprocessing
from tests.conftest import pictures
from tests.helpers.planted import CORNERS, SQUARE, Red, planted, square

CPU64 = {"accelerator": "cpu", "devices": 1, "precision": "64-true"}
AUTO = Method(areas=(0.0625,), explanations="auto", steps=25)
TARGETS = torch.tensor([1, 1])
NAMES = ["one", "two"]


def images() -> torch.Tensor:
    """One red square, and two."""
    return torch.stack([planted(*CORNERS[name]) for name in ("a-one", "b-two")])


def classifier() -> FrozenClassifier:
    preprocessing = Preprocessing((24, 24), 24, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return FrozenClassifier(
        Red(), preprocessing=preprocessing, normalise=False, input_mean=(0.3,) * 3, input_std=(0.25,) * 3
    )


@pytest.fixture(scope="module")
def fitted() -> FitResult:
    """Both images as one stack, in double precision."""
    return fit_masks(images(), TARGETS, NAMES, classifier(), replace(AUTO, images_per_fit=2), trainer=CPU64)


def test_the_rule_against_its_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    names = ["preservation_hard_noise", "preservation_hard_photo", "chance_noise", "chance_photo", "p_full"]
    columns = {name: torch.rand(40, 3, generator=draw, dtype=torch.float64) for name in names}
    found = should_keep(columns, share=0.9, baselines=("noise", "photo")).tolist()
    for image in range(40):
        own, chance, full = 0.0, 0.0, 0.0
        for area in range(3):
            full += float(columns["p_full"][image, area]) / 3
            for name in ("noise", "photo"):
                own += float(columns[f"preservation_hard_{name}"][image, area]) / 6
                chance += float(columns[f"chance_{name}"][image, area]) / 6
        assert found[image] == (own >= 0.9 * full and own > chance)
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    ("own", "chance", "share", "kept"),
    [
        (0.25, 0.0, 0.5, True),  # just the share
        (0.25, 0.0, 0.51, False),
        (0.25, 0.25, 0.1, False),  # no more than chance
        (0.0, 0.0, 0.0, False),
        (float("nan"), 0.0, 0.0, False),
    ],
)
def test_the_rule_at_its_edges(own: float, chance: float, share: float, kept: bool) -> None:
    values = {"preservation_hard_noise": own, "chance_noise": chance, "p_full": 0.5}
    columns = {name: torch.full((1, 2), value) for name, value in values.items()}
    assert should_keep(columns, share=share, baselines=("noise",)).tolist() == [kept]


def test_each_image_has_as_many_explanations_as_it_has_cues(fitted: FitResult) -> None:
    assert fitted.counts == [1, 2]
    assert fitted.fits == [2, 3]  # one more was tried
    assert fitted.spans == [(0, 75)] * 2
    assert fitted.masks.shape == (2, 2, 1, 24, 24)
    assert fitted.losses.shape == (2, 3, 25)
    red = images()[:, 0] == 1
    for image, count in enumerate(fitted.counts):
        own = fitted.masks[image]
        assert not own[count:].any()
        assert (own[:count].float().mean((-2, -1)) - 0.0625).abs().max() < 1e-3
        hard = hard_masks(own[:count], torch.tensor([0.0625]), generators=[torch.Generator()] * count)[:, 0]
        assert (hard.sum(0) <= 1).all()
        assert (hard & red[image]).sum((-2, -1)).min() > 20  # most of a square of 36 pixels
        assert fitted.losses[image, : count + 1].isfinite().all()
        assert fitted.losses[image, count + 1 :].isnan().all()
        for k, free in enumerate(fitted.free):
            assert free is None if k == 0 else bool(free[image].any()) == (k < count)


def test_an_image_alone_finds_what_it_finds_in_a_batch(fitted: FitResult) -> None:
    alone = fit_masks(images()[1:2], TARGETS[1:2], NAMES[1:2], classifier(), AUTO, trainer=CPU64)
    assert (alone.counts, alone.fits, alone.spans) == ([2], [3], [(0, 75)])
    assert (alone.losses[0] - fitted.losses[1]).abs().max() < 1e-6
    assert (alone.masks[0].float() - fitted.masks[1].float()).abs().max() < 2e-3
    for one, other in zip(alone.networks[0], fitted.networks[1], strict=True):
        assert all(torch.allclose(one[name].double(), other[name].double(), atol=1e-6) for name in one)


@pytest.mark.slow
def test_the_kept_explanations_are_those_of_a_fixed_number(fitted: FitResult) -> None:
    method = replace(AUTO, explanations=2)
    fixed = fit_masks(images()[1:], TARGETS[1:], NAMES[1:], classifier(), method, trainer=CPU64)
    assert (fixed.counts, fixed.fits, fixed.spans) == ([2], [2], [(0, 50)])
    assert (fixed.losses[0] - fitted.losses[1, :2]).abs().max() < 1e-6


def test_the_python_interface_fills_up_with_zeros_and_tells_the_counts() -> None:
    explainer = INRAttribution(Red(), input_mean=0.3, input_std=0.25, steps=25, stop=Stop(most=2))
    masks = explainer.attribute(images()[:2], target=1, areas=(0.0625,), explanations="auto", image_ids=NAMES[:2])
    assert masks.shape == (2, 2, 1, 24, 24)
    assert explainer.counts(masks).tolist() == [1, 2]
    assert not masks[0, 1].any()


def test_the_rule_without_photos_asks_no_more_than_it_needs() -> None:
    asked = 0
    given = classifier()

    def counting(inputs: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += len(inputs)
        return Red()(inputs)

    given.model = counting
    rule = NoiseRule(given, images(), TARGETS, NAMES, AUTO)
    nothing = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)).half()
    assert rule(Candidate(1, [1], nothing, None)) == [True]
    assert asked == 0
    assert rule(Candidate(2, [1], nothing, None)) == [False]
    assert asked == 1 + 4 + 8  # the image, four draws of noise, eight chance masks
    assert rule(Candidate(2, [1, 0], torch.stack([square(14, 14)] * 2), None)) == [True, False]


def test_scores_of_a_fixed_number_keep_all_and_note_every_row() -> None:
    photos = torch.full((2, 1, 3, 24, 24), 0.5)
    keeper = RunScorer(classifier(), images(), TARGETS, NAMES, replace(AUTO, explanations=2), photos=photos)
    masks = torch.stack([square(4, 4), square(0, 0)])
    for k in (1, 2):
        assert keeper(Candidate(k, [0, 1], masks, None)) == [True] * 2
    assert [[(row["sample_id"], row["target"], row["explanation"]) for row in rows] for rows in keeper.rows] == [
        [(name, 1, 1), (name, 1, 2)] for name in NAMES
    ]
    assert (keeper.failures, keeper.dropped) == ({}, {})


def test_rows_of_a_batch_that_shrinks_and_what_a_dropped_explanation_carried() -> None:
    photos = torch.full((2, 1, 3, 24, 24), 0.5)
    keeper = RunScorer(classifier(), images(), TARGETS, NAMES, AUTO, photos=photos)
    assert keeper(Candidate(1, [0, 1], torch.stack([square(4, 4), square(2, 2)]), None)) == [True, True]
    assert keeper(Candidate(2, [0, 1], torch.stack([square(16, 16), square(14, 14)]), None)) == [False, True]
    assert keeper(Candidate(3, [1], square(16, 0)[None], None)) == [False]
    assert [len(rows) for rows in keeper.rows] == [1, 2]
    share = SQUARE**2 / 24**2
    assert [row["union_share"] for row in keeper.rows[1]] == pytest.approx([share, 2 * share])
    assert {place: told["explanation"] for place, told in keeper.dropped.items()} == {0: 2, 1: 3}
    assert all(0 <= told["preservation"] < 0.01 for told in keeper.dropped.values())


def test_an_image_that_fails_costs_no_other() -> None:
    broken = images()
    broken[1] = torch.inf
    fitted = fit_masks(broken, TARGETS, NAMES, classifier(), replace(AUTO, images_per_fit=2, steps=3))
    assert fitted.failures == {1: NOT_FINITE}
    assert (fitted.counts[1], fitted.fits[1]) == (0, 0)
    assert fitted.counts[0] >= 1


def test_room_is_told_image_by_image() -> None:
    def drawing(area: float) -> Drawing:
        return Drawing(
            [0.1, area],
            (20, 20),
            area_rule=AreaProjection(),
            exclusion_area=area,
            exclude=True,
            sample_ids=["a", "b"],
            seed=0,
        )

    half, more = drawing(0.5), drawing(0.51)
    for round_ in (half, more):
        assert round_.room == [True, True]
        round_.next(FourierINR([torch.Generator().manual_seed(i) for i in range(2)]))
    assert half.room == [True, True]
    assert more.room == [False, False]
    half.only([1])
    assert half.room == [True]
    assert half.free is not None
    assert len(half.free) == 1


def test_the_room_bounds_the_number(tiny: FrozenClassifier) -> None:
    method = Method(areas=(0.3,), explanations="auto", steps=1)
    assert method.most == 3
    everything = fit_masks(
        pictures(1), torch.tensor([0]), ["a"], tiny, method, keep=lambda attempt: [True] * len(attempt.places)
    )
    assert (everything.counts, everything.fits) == ([3], [3])
    assert replace(method, exclusion=Exclusion("penalty")).most == 5
    assert replace(method, areas=(0.9,)).most == 1
    assert replace(method, stop=Stop(most=2)).most == 2


class Opposed(INR[torch.Tensor]):
    """Masks of a small area grow from the right, those of a larger one from the left: they do not lie in each other."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(len(generators), 1, 1))

    def encode(self, coordinates: torch.Tensor) -> torch.Tensor:
        return coordinates

    def forward(self, encoded: torch.Tensor, areas: torch.Tensor) -> torch.Tensor:
        side = torch.where(areas < 0.22, 1.0, -1.0)
        return self.gain * side[None, :, None] * (encoded[:, 0] + encoded[:, 1] / 100)


def test_an_image_without_room_ends_with_what_it_has(tiny: FrozenClassifier, caplog: pytest.LogCaptureFixture) -> None:
    """Of four explanations of a quarter each: the third finds a tenth of the image free at the area of a fifth."""
    method = Method(areas=(0.2, 0.25), explanations=4, steps=1, inr=Opposed)
    fitted = fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny, method)
    assert (fitted.counts, fitted.failures) == ([2, 2], {})
    for place, area in enumerate(method.areas):
        hard = hard_masks(fitted.masks[:, :, place], torch.tensor([area, area]), generators=[torch.Generator()] * 2)
        assert int(hard.sum(1).max()) == 1
    for name in ("a", "b"):
        assert f"{name} ends with 2 explanations: the masks of its areas do not lie in each other" in caplog.text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"explanations": "many"}, "explanations must be a whole number or 'auto'; got 'many'"),
        ({"stop": Stop(share=2.0)}, "stop.share=2.0 is out of range"),
        ({"stop": Stop(most=0)}, "stop.most=0 is out of range"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Method(**options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_on_the_demo_a_texture_goes_on_and_an_object_ends() -> None:
    """One image with both cues and the same on a plain ground, whose only cue the first explanation takes."""
    method = Method(areas=(0.05, 0.1, 0.2), explanations="auto", stop=Stop(share=0.4, most=2))
    network, counts = demo(), {}
    for cues in ("both", "object"):
        data = Synthetic(1, cues=cues)
        sample = data.load(data.ids[0], network.preprocessing)
        photos = torch.stack([data.load(name, network.preprocessing).image for name in data.scoring_ids[:3]])
        image, target = sample.image[None], torch.tensor([sample.target])
        keeper = RunScorer(network, image, target, data.ids, method, photos=photos[None])
        counts[cues] = fit_masks(image, target, data.ids, network, method, keep=keeper).counts
        assert len(keeper.rows[0]) == 3 * counts[cues][0]
    assert counts == {"both": [2], "object": [1]}
