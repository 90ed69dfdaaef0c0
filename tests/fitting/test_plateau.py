"""Fits that end when hard masks do not gain any more: the rule, the rest of the course, passes, stacks and runs."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inr_xai.area import AreaProjection, RankPenalty
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.start import GradientStart, NoStart, Start
from inr_xai.compare.methods.ours import FirstExplanation, MaskFitter
from inr_xai.errors import UserError
from inr_xai.fitting import plateau
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.plateau import DRAWS, PlateauModule, PlateauRule, remaining_steps
from inr_xai.fitting.stack import DIVERGED
from inr_xai.fitting.trainers import light_trainer, quiet_lightning
from inr_xai.inr import FeatureGridINR, PyramidINR
from inr_xai.limits import Exclusion, Plateau, Stop
from inr_xai.masks import hard_masks
from inr_xai.method import Method
from inr_xai.objective import Hybrid, Objective, Preservation
from inr_xai.perturbation import Jitter
from inr_xai.runs.files import read_json, write_json
from inr_xai.runs.folder import RunFolder
from inr_xai.types import Batch
from tests.conftest import pictures
from tests.helpers.comparison import CPU
from tests.helpers.runs import FACTS, explain, masks_of, same_masks, table

ENDING = Method(
    areas=(0.1, 0.3), steps=20, plateau=Plateau(4), images_per_fit=3, inr=PyramidINR, start=NoStart(), decay=0.2
)
"""Short fits, which end at different steps."""
DOUBLE = {"accelerator": "cpu", "devices": 1, "precision": "64-true"}
TARGETS = torch.tensor([0, 1, 2, 3])


@pytest.fixture(autouse=True)
def checks_from_the_first_steps_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets fits that are this short end at different steps."""
    monkeypatch.setattr(plateau, "BEGIN", ENDING.steps)


def steps_of(losses: torch.Tensor) -> list[list[int]]:
    """Returns how many steps each fit of each image took, which come before the NaN."""
    counts: list[list[int]] = losses.isfinite().sum(-1).tolist()
    assert all(losses[b, f, : counts[b][f]].isfinite().all() for b in range(len(losses)) for f in range(len(counts[b])))
    return counts


def first_end(rule: PlateauRule, values: list[float], every: int) -> int | None:
    """Returns the step at which a series of values, one every few steps, ends."""
    ends = [rule.has_ended(every * number, value) for number, value in enumerate(values, start=1)]
    return every * (ends.index(True) + 1) if True in ends else None


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0, 0.5], None),
        ([5.0, 4.0, 4.5, 4.2, 3.0], 20),  # 10 is the last gain, and 20 lies 10 behind
        ([5.0, 4.0, 4.5, 3.9, 4.5, 4.5], 30),
        ([5.0, 4.999, 4.998, 4.0], 15),  # gains below a thousandth are none
        ([-5.0, -6.0, -6.0, -6.0], 20),
        ([math.nan, math.nan, math.nan], 15),
        ([math.inf, 3.0, 2.0, math.nan, math.inf], 25),
        ([0.0, 0.0, 0.0], 15),
        ([0.0, -1e-9, -2e-9], None),
    ],
)
def test_a_series_ends_when_its_last_gain_lies_so_many_steps_back(values: list[float], step: int | None) -> None:
    assert first_end(PlateauRule(10), values, every=5) == step


@pytest.mark.parametrize(("spent", "rest"), [(1, 1), (10, 1), (11, 2), (50, 5), (89, 9)])
def test_the_rest_of_the_course_takes_a_tenth_of_the_steps_spent(spent: int, rest: int) -> None:
    assert remaining_steps(spent) == rest


@contextmanager
def counted(classifier: FrozenClassifier) -> Iterator[list[int]]:
    """Counts the images that go through a classifier: those with a gradient, and those without."""
    counts = [0, 0]

    def count(_: object, inputs: tuple[torch.Tensor], __: object) -> None:
        counts[0 if inputs[0].requires_grad else 1] += len(inputs[0])

    handle = classifier.model.register_forward_hook(count)
    yield counts
    handle.remove()


@pytest.mark.parametrize(
    ("objective", "start"),
    [(Preservation(), GradientStart()), (Hybrid(), NoStart())],
    ids=["preservation", "hybrid"],
)
def test_passes_are_those_that_were_made(tiny: FrozenClassifier, objective: Objective, start: Start) -> None:
    method = replace(ENDING, objective=objective, start=start)
    with counted(tiny) as counts:
        fitted = fit_masks(pictures(2), TARGETS[:2], list("ab"), tiny, method)
    with_gradient, without = counts
    looked_at = 2  # each image once, before its fit
    assert fitted.passes is not None
    assert sum(fitted.passes) == with_gradient + (without - looked_at) / 2
    assert min(steps_of(fitted.losses)) < [20]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"inr": FeatureGridINR, "start": GradientStart(), "explanations": 2}, marks=pytest.mark.slow),
        pytest.param(
            {"objective": Hybrid(), "exclusion": Exclusion("penalty"), "explanations": 2, "jitter": Jitter(0.05)},
            marks=pytest.mark.slow,
        ),
        {"optimizer": partial(torch.optim.SGD, lr=0.3, momentum=0.9), "area_rule": RankPenalty(), "decay": 1.0},
    ],
    ids=["projection", "excluding", "hybrid", "rank_penalty"],
)
def test_an_image_ends_in_a_stack_where_it_ends_alone(tiny: FrozenClassifier, changes: dict[str, Any]) -> None:
    method = replace(ENDING, **changes)
    images, targets, ids = pictures(3), TARGETS[:3], list("abc")
    together = fit_masks(images, targets, ids, tiny, method, trainer=DOUBLE)
    steps = steps_of(together.losses)
    assert len({count for counts in steps for count in counts}) > 1
    order = [2, 0]
    turned = fit_masks(images[order], targets[order], [ids[i] for i in order], tiny, method, trainer=DOUBLE)
    alone = fit_masks(images[1:2], targets[1:2], ["b"], tiny, method, trainer=DOUBLE)
    for other, rows, places in ((turned, [1, 0], [0, 2]), (alone, [0], [1])):
        assert steps_of(other.losses[rows]) == [steps[place] for place in places]
        torch.testing.assert_close(other.losses[rows], together.losses[places], rtol=0, atol=1e-6, equal_nan=True)
        for row, place in zip(rows, places, strict=True):
            for name, value in other.networks[row][-1].items():
                torch.testing.assert_close(value, together.networks[place][-1][name], rtol=0, atol=1e-6)
        assert together.passes is not None
        assert other.passes is not None
        assert [other.passes[row] for row in rows] == [together.passes[place] for place in places]


def test_on_a_cpu_no_bit_depends_on_the_batch(tiny: FrozenClassifier) -> None:
    method = replace(ENDING, images_per_fit=None)
    together = fit_masks(pictures(2), TARGETS[:2], list("ab"), tiny, method)
    alone = fit_masks(pictures(2)[1:], TARGETS[1:2], ["b"], tiny, method)
    assert torch.equal(alone.masks[0], together.masks[1])
    assert torch.equal(alone.losses[0].nan_to_num(9.0), together.losses[1].nan_to_num(9.0))


@pytest.mark.parametrize(("begin", "steps", "checks"), [(20, 9, 3), (20, 13, 0), (2, 4, 4), (2, 8, 0)])
@pytest.mark.slow
def test_a_fit_that_never_ends_early_is_that_without_the_option(
    tiny: FrozenClassifier, begin: int, steps: int, checks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plateau, "BEGIN", begin)
    monkeypatch.setattr(PlateauRule, "has_ended", lambda *_: False)
    method = replace(ENDING, plateau=Plateau(steps), images_per_fit=2)
    fitted = fit_masks(pictures(2), TARGETS[:2], list("ab"), tiny, method)
    plain = fit_masks(pictures(2), TARGETS[:2], list("ab"), tiny, replace(method, plateau=Plateau()))
    assert torch.equal(fitted.masks, plain.masks)
    assert torch.equal(fitted.losses, plain.losses)
    assert plain.passes is None
    # From the first half on after every second step; nothing is asked if no check could end a fit.
    assert fitted.passes == [2 * (20 + checks * DRAWS / 2)] * 2


def make_module(classifier: FrozenClassifier, method: Method, count: int) -> PlateauModule:
    batch = Batch(pictures(count).double(), TARGETS[:count], list("abcd")[:count])
    return PlateauModule(batch, explanation=1, classifier=classifier, method=method)


def test_an_image_that_has_ended_is_that_of_one_loop_with_its_own_course(tiny: FrozenClassifier) -> None:
    method = replace(ENDING, area_rule=AreaProjection(0.5))
    fitted = fit_masks(pictures(1), TARGETS[:1], ["a"], tiny, method, trainer=DOUBLE)
    ((count,),) = steps_of(fitted.losses)
    (spent,) = [steps for steps in range(count) if steps + -(-steps // 10) == count]
    with tiny.frozen("cpu", torch.float64), quiet_lightning():
        module = make_module(tiny, method, 1)
        plain = [step / 19 for step in range(spent)]
        rest = count - spent
        module.progress = plain + [plain[-1] + (1 - plain[-1]) * step / rest for step in range(1, rest + 1)]
        module.on_fit_start()
        made: Any = module.configure_optimizers()
        for step in range(count):
            made["optimizer"].zero_grad()
            module.training_step(step, step).backward()  # type: ignore[no-untyped-call]
            made["optimizer"].step()
            made["lr_scheduler"]["scheduler"].step()
    assert module.progress[-1] == 1
    losses = torch.stack(module.losses, 1)[0].float()
    torch.testing.assert_close(fitted.losses[0, 0, :count], losses, rtol=1e-6, atol=1e-6)
    for name, value in module.inr.state_dict().items():
        torch.testing.assert_close(fitted.networks[0][0][name], value[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("free", [False, True])
def test_a_check_judges_hard_masks_under_draws_that_stay(tiny: FrozenClassifier, free: bool) -> None:
    allowed = torch.ones(2, 2, 24, 24, dtype=torch.bool)
    allowed[:, :, :10] = not free
    batch = Batch(pictures(2).double(), TARGETS[:2], list("ab"))
    method = replace(ENDING, objective=Hybrid(4.0, areas=ENDING.areas))
    with tiny.frozen("cpu", torch.float64), quiet_lightning(), light_trainer(DOUBLE, ()) as trainer:
        module = PlateauModule(batch, explanation=1, classifier=tiny, method=method, free=allowed if free else None)
        trainer.strategy._lightning_module = module
        module.trainer = trainer
        module.on_fit_start()
        with torch.no_grad():
            masks = module.current_masks(1.0)
        areas = torch.tensor(method.areas, dtype=torch.float64)
        hard = hard_masks(masks, areas, generators=[torch.Generator()] * 2, free=module.free).double()
        expected = torch.zeros(2, dtype=torch.float64)
        draws = []
        for draw in range(DRAWS):
            kept = module._judging.draw(draw, progress=1.0)
            draws.append(kept(torch.zeros_like(hard)))  # the baselines
            for image, area in np.ndindex(2, 2):
                photo, baseline, pixels = batch.images[image], draws[-1][image, area], hard[image, area]
                shown = [(pixels * photo + (1 - pixels) * baseline, 1.0)]
                if area == draw:  # deletion is played on one mask, in turn, with the baseline of the first
                    shown.append(((1 - pixels) * photo + pixels * draws[-1][image, 0], 4.0))
                for seen, weight in shown:
                    p = torch.softmax(tiny(seen[None])[0], 0)[TARGETS[image]]
                    expected[image] -= weight * (p if weight == 1 else 1 - p).log()
        values = module.judged_values()
        assert torch.equal(values, module.judged_values())
        fitted = module._masked.draw(0, progress=1.0)(torch.zeros_like(hard))
    torch.testing.assert_close(values, expected / (2 * DRAWS), rtol=1e-9, atol=1e-9)
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(fitted, draws[0])


@pytest.mark.parametrize("again", [True, False], ids=["twice", "once"])
@pytest.mark.slow
def test_an_image_whose_fit_diverges_has_a_second_try_alone(tiny: FrozenClassifier, again: bool) -> None:
    class Diverging(Preservation):
        begun = 0

        def __call__(self, masks: Any, areas: Any, evidence: Any, absence: Any, *, step: int) -> torch.Tensor:
            values = super().__call__(masks, areas, evidence, absence, step=step)
            self.begun += step == 0 and masks.requires_grad
            diverges = [False, True] if len(values) == 2 else [self.begun == 2 and again]
            return values.masked_fill(torch.tensor(diverges).unsqueeze(1), math.nan)

    method = replace(ENDING, images_per_fit=2)
    given = pictures(2), TARGETS[:2], list("ab"), tiny
    plain = fit_masks(*given, method, trainer=DOUBLE)
    fitted = fit_masks(*given, replace(method, objective=Diverging()), trainer=DOUBLE)
    assert fitted.failures == ({1: DIVERGED} if again else {})
    assert fitted.counts == [1, 0 if again else 1]
    torch.testing.assert_close(fitted.losses[0], plain.losses[0], rtol=0, atol=1e-6, equal_nan=True)
    assert fitted.passes is not None
    assert plain.passes is not None
    assert fitted.passes[0] == plain.passes[0]
    steps = steps_of(fitted.losses)[1][0] if not again else 0
    assert fitted.passes[1] > len(method.areas) * (steps + method.steps // 2)  # both tries count
    assert [len(tries) for tries in fitted.again] == [0, 1]


def test_with_auto_every_image_has_its_own_passes(tiny: FrozenClassifier) -> None:
    method = replace(ENDING, explanations="auto", areas=(0.1, 0.2), stop=Stop(most=2))
    fitted = fit_masks(pictures(2), TARGETS[:2], list("ab"), tiny, method)
    assert fitted.passes is not None
    for counts, fits, passes in zip(steps_of(fitted.losses), fitted.fits, fitted.passes, strict=True):
        expected = 0.0
        for count in counts[:fits]:
            spent = count if count == 20 else next(n for n in range(count) if n + -(-n // 10) == count)
            expected += 2 * (count + min(spent, 17) // 2 * DRAWS / 2)
        assert passes == expected


RUN = ["steps=20", "plateau.steps=4", "data.size=3", "explanations=1", "start=none", "inr=pyramid"]
EVOLUTION = ["callbacks=evolution", "callbacks.evolution.every=1"]


@pytest.fixture(scope="module")
def ended_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plateau") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plateau, "BEGIN", 20)
        explain(folder, *RUN, *EVOLUTION, "callbacks.figures=null", "images_per_fit=2")
    return folder


@pytest.mark.slow
def test_a_run_stores_the_passes_that_it_spent(ended_run: Path) -> None:
    folder = RunFolder(ended_run)
    records = [folder.read(name) for name in sorted(folder.done())]
    spent = [record.extra["passes"] for record in records]
    assert all(passes != 2 * 20 for passes in spent)
    facts = folder.read_run()
    assert facts["config"]["plateau"] == {"steps": 4}
    assert facts["classifier_passes"]["per_image"] == pytest.approx(sum(spent) / 3)
    assert facts["classifier_passes"]["per_explanation"] == pytest.approx(sum(spent) / 3)
    assert folder.read_summary()["passes_per_image"] == pytest.approx(sum(spent) / 3)
    assert all(record.losses.shape == (1, 20) for record in records)
    assert [(record.steps_before, record.steps_after) for record in records] == [(0, 20), (0, 20), (20, 40)]


def test_curves_have_a_line_for_every_step_that_was_made(ended_run: Path) -> None:
    folder = RunFolder(ended_run)
    expected = {}
    for record in (folder.read(name) for name in sorted(folder.done())):
        for fit, step in np.ndindex(1, 20):
            if not math.isnan(loss := float(record.losses[fit, step])):
                key = record.steps_before + 20 * fit + step, fit + 1, step
                expected.setdefault(key, []).append(loss)
    lines = table(ended_run, "curves.csv")
    keys = [(int(line["steps_done"]), int(line["explanation"]), int(line["step"])) for line in lines]
    assert keys == sorted(expected)
    assert {len(losses) for losses in expected.values()} == {1, 2}
    assert [float(line["loss"]) for line in lines] == pytest.approx([np.mean(expected[key]) for key in keys])


def test_the_pictures_of_a_fit_show_the_steps_that_it_took(ended_run: Path) -> None:
    folder = RunFolder(ended_run)
    for name in sorted(folder.done()):
        for k, losses in enumerate(folder.read(name).losses, start=1):
            frames = int(losses.isfinite().sum())
            with Image.open(folder.figure_file(name, f".evolution.k{k}.png")) as picture:
                assert picture.height == 24 * frames


@pytest.mark.slow
def test_a_run_that_is_continued_has_the_masks_of_an_unbroken_one(ended_run: Path, tmp_path: Path) -> None:
    alone = [*RUN, "callbacks.figures=null", "images_per_fit=2"]
    explain(tmp_path, *alone, "data.limit=2")
    explain(tmp_path, *alone)
    assert masks_of(tmp_path).keys() == masks_of(ended_run).keys()
    assert same_masks(tmp_path, ended_run)
    both = [RunFolder(path).read_summary()["passes_per_image"] for path in (tmp_path, ended_run)]
    assert both[0] == both[1]
    with pytest.raises(UserError, match=r"plateau\.steps \(was 4, now None\)"):
        explain(tmp_path, *alone, "plateau.steps=null")


def test_a_run_of_before_has_no_plateau(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", FACTS)
    assert "plateau" not in read_json(tmp_path / "run.json")["config"]
    assert RunFolder(tmp_path).read_run()["config"]["plateau"] == {"steps": None}


def test_a_comparison_has_the_passes_that_were_spent(tiny: FrozenClassifier) -> None:
    method = ENDING
    ending, plain = (MaskFitter(one, tiny, device=CPU) for one in (method, replace(method, plateau=Plateau())))
    maps = FirstExplanation(ending).explain(pictures(1)[0], 0, "a")
    fitted, _ = ending.fit(pictures(1)[0], 0, "a")
    assert fitted.passes == [maps.passes]
    assert maps.passes < method.image_passes()
    assert "plateau" not in plain.settings  # rows that were made without the option stay valid
    assert ending.settings["plateau"]["arguments"] == {"steps": 4}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plateau": Plateau(0)}, "plateau.steps=0 is out of range; it must be a whole number, at least 1"),
        ({"plateau": Plateau(20)}, "plateau.steps=20 must be less than steps=20, the length of a fit; give at most"),
        ({"plateau": Plateau(1), "steps": 1}, "plateau.steps=1 must be less than steps=1.*give plateau.steps=null"),
    ],
)
def test_a_plateau_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(ENDING, **changes)
