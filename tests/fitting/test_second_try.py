"""A fit that diverged is tried once more: that image alone, with other draws and half the learning rate."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import inr_xai
from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.fitting.stack import DIVERGED
from inr_xai.limits import Exclusion
from inr_xai.method import Method
from inr_xai.objective import Preservation
from inr_xai.runs.folder import RunFolder
from inr_xai.seeding import generator
from tests.conftest import pictures
from tests.helpers.runs import explain

TARGETS = torch.tensor([0, 1, 2])


class Diverging(Preservation):
    """Gives NaN in a step of some of the fits, which are counted from 1, for one image of the stack.

    Args:
        fits: the numbers of the fits.
        image: the place in the stack; the last if there are fewer images.
    """

    def __init__(self, fits: tuple[int, ...] = (1,), image: int = 0):
        super().__init__()
        self.fits, self.image, self.count = fits, image, 0

    def __call__(self, masks: Any, areas: Any, evidence: Any, absence: Any, *, step: int) -> torch.Tensor:
        values = super().__call__(masks, areas, evidence, absence, step=step)
        self.count += step == 0
        is_image = torch.arange(len(values)) == min(self.image, len(values) - 1)
        fails = is_image & (self.count in self.fits) & (step == 1)
        return values.masked_fill(fails.unsqueeze(1), math.nan)


def method(objective: Preservation | None = None, **changes: Any) -> Method:
    options = {"areas": (0.1, 0.3), "explanations": 2, "steps": 4, "images_per_fit": 3} | changes
    return Method(objective=objective or Preservation(), **options)


def fit(classifier: FrozenClassifier, *arguments: Any, rows: slice = slice(3), **changes: Any) -> FitResult:
    given = pictures(3)[rows], TARGETS[rows], list("abc")[rows]
    return fit_masks(*given, classifier, method(*arguments, **changes))


@pytest.mark.parametrize("mode", ["exclude", "penalty"])
@pytest.mark.slow
def test_the_other_images_stay_to_the_bit_and_the_record_says_what_was_done(tiny: FrozenClassifier, mode: str) -> None:
    exclusion = Exclusion(mode)
    plain = fit(tiny, exclusion=exclusion)
    # The first fit of the first explanation fails, then the first of the second: fits 1 and 3 of four.
    fitted = fit(tiny, Diverging((1, 3), image=1), exclusion=exclusion)
    assert (fitted.failures, fitted.counts, fitted.fits, fitted.spans) == ({}, [2, 2, 2], [2, 2, 2], plain.spans)
    for other in (0, 2):
        assert torch.equal(fitted.masks[other], plain.masks[other])
        assert torch.equal(fitted.losses[other], plain.losses[other])
        assert fitted.notes(other, method()) == {}
    assert fitted.losses.isfinite().all()
    seed = generator(0, "b", "again").initial_seed()
    tries = [{"explanation": k, "seed": seed, "lr": 0.005} for k in (1, 2)]
    # Each of four fits of four steps makes two passes a step, and the start one pass.
    assert fitted.notes(1, method()) == {"again": tries, "passes": 4 * 4 * 2 + 1}
    assert plain.passes is None


def test_it_is_the_fit_that_seed_and_rate_give(tiny: FrozenClassifier) -> None:
    fitted = fit(tiny, Diverging(), explanations=1, rows=slice(1))
    ((known,),) = fitted.again

    def slow(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=known["lr"], eps=1e-6)

    assert known["lr"] == 0.005, "half of the default"
    expected = fit(tiny, explanations=1, rows=slice(1), seed=known["seed"], optimizer=slow)
    assert torch.equal(fitted.losses, expected.losses)
    for name, value in expected.networks[0][0].items():
        assert torch.equal(fitted.networks[0][0][name], value)


def test_it_does_not_depend_on_the_batch(tiny: FrozenClassifier) -> None:
    together = fit(tiny, Diverging(image=2), images_per_fit=3, explanations=1)
    alone = fit(tiny, Diverging(), rows=slice(2, 3), explanations=1)
    # Their first steps are of stacks of other sizes, but the second try is of one image in both.
    assert torch.equal(together.losses[2], alone.losses[0])
    assert torch.equal(together.masks[2], alone.masks[0])
    assert together.again[2] == alone.again[0]


def test_an_image_that_diverges_twice_fails(tiny: FrozenClassifier) -> None:
    fitted = fit(tiny, Diverging((1, 2)), explanations=1)
    assert fitted.failures == {0: DIVERGED}
    assert fitted.counts == [0, 1, 1]


@pytest.mark.slow
def test_a_run_renders_what_it_stored_of_a_second_try(tmp_path: Path) -> None:
    explain(tmp_path, "data.size=2", "steps=3", f"objective._target_={__name__}.Diverging", "objective.fits=[1,4]")
    run, folder = inr_xai.load(tmp_path), RunFolder(tmp_path)
    names = sorted(run)
    first, second = (folder.read(name).extra for name in names)
    assert [known["explanation"] for known in first["again"]] == [1]
    assert [known["explanation"] for known in second["again"]] == [1]
    assert first["passes"] == 3 * 2 * 3 + 1
    assert folder.read_summary()["passes_per_image"] == first["passes"]
    for name in names:
        for k in (1, 2):
            again = torch.stack([run[name].mask(area, explanation=k) for area in (0.1, 0.3)])
            assert (again - run[name].masks[k - 1].float()).abs().max() <= 1e-3
