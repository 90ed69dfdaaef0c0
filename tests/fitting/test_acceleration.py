"""Compiled functions, replayed steps and the memory layout: they leave the result, and what cannot be had is said."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inr_xai.area import AreaProjection, RankPenalty
from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.start import GradientStart, NoStart
from inr_xai.fitting import acceleration
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.inr import FourierINR
from inr_xai.limits import Exclusion, Plateau
from inr_xai.masks import hard_masks, pixel_counts
from inr_xai.method import Method
from inr_xai.objective import Deletion, Hybrid, Preservation
from inr_xai.perturbation import BlurPyramid, Jitter, Reveal
from tests.conftest import pictures
from tests.helpers.compiled_fit import compiled_fit

pytestmark = pytest.mark.slow

METHOD = Method(areas=(0.1, 0.3), steps=6, images_per_fit=2, start=NoStart())
EXACT = {"accelerator": "cpu", "precision": "64-true"}
ALL = {
    "default": {"start": GradientStart()},
    "shifts that end": {"jitter": Jitter(0.1, until=0.5), "reveal": Reveal(0.5, until=0.6)},
    "shifts of masks": {"jitter": Jitter(0.1, flip=True, per_mask=True), "explanations": 2},
    "two turns": {"objective": Hybrid(areas=(0.1, 0.3)), "explanations": 2, "exclusion": Exclusion("penalty")},
    "both games": {"objective": Hybrid(areas=None)},
    "another family, game and rule": {"inr": FourierINR, "objective": Deletion(), "area_rule": RankPenalty()},
    "in parts": {"masks_per_forward": 2},
    "no standardised logits": {"area_rule": AreaProjection(standardise=False)},
    "ends early": {"plateau": Plateau(2), "steps": 16},
}
"""Methods whose steps differ in what changes from one to the next."""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets each test begin as a process does."""
    monkeypatch.setattr(acceleration, "_said", set())
    monkeypatch.setattr(acceleration, "_failed", set())
    monkeypatch.setattr(acceleration, "_shapes", set())
    acceleration.compiled.cache_clear()
    yield
    acceleration.compiled.cache_clear()


def fitted(classifier: FrozenClassifier, method: Method, **trainer: Any) -> FitResult:
    """Fits three images, in stacks of two and of one."""
    images, targets = pictures(7), torch.tensor([0, 1, 2])
    result = fit_masks(images[:3], targets, list("abc"), classifier, method, donors=images[3:], trainer=EXACT | trainer)
    assert not result.failures
    return result


def require_equal(one: FitResult, other: FitResult, tolerance: float = 1e-6) -> None:
    """Checks that two fits agree: their curves, and their masks, which are stored in half precision."""
    torch.testing.assert_close(one.losses, other.losses, rtol=0, atol=tolerance, equal_nan=True)
    torch.testing.assert_close(one.masks.float(), other.masks.float(), rtol=0, atol=1e-3 if tolerance else 0)


@pytest.fixture
def without_graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Does what a graph would replay: the work itself, with all that was known to the host when it was captured.

    Returns a list in which it counts what is captured and what is replayed.
    """
    counts = [0, 0]

    def capture(work: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
        counts[0] += 1

        def replay() -> list[Tensor]:
            counts[1] += 1
            with torch.enable_grad():  # as where it is captured
                return work()

        return replay

    monkeypatch.setattr(acceleration, "capture", capture)
    monkeypatch.setattr(acceleration, "GRAPHED", "cpu")
    return counts


@pytest.mark.parametrize("changes", ALL.values(), ids=list(ALL))
def test_a_step_that_is_replayed_has_the_results_of_one_that_is_not(
    tiny: FrozenClassifier, without_graphs: list[int], changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    method = replace(METHOD, **changes)
    plain = fitted(tiny, method)
    assert without_graphs == [0, 0]
    require_equal(fitted(tiny, replace(method, cuda_graphs=True)), plain)
    captured, replayed = without_graphs
    assert 0 < captured < replayed
    assert caplog.messages == []


def test_what_changes_from_step_to_step_is_given_to_the_graph_anew(
    tiny: FrozenClassifier, without_graphs: list[int]
) -> None:
    fitted(tiny, replace(METHOD, cuda_graphs=True))
    stacks, after_the_first = 2, METHOD.steps - 1
    assert without_graphs == [stacks, stacks * after_the_first]
    without_graphs[:] = [0, 0]
    fitted(tiny, replace(METHOD, cuda_graphs=True, objective=Hybrid(areas=(0.1, 0.3))))
    assert without_graphs == [2 * stacks, stacks * after_the_first]


class Late(Preservation):
    """A game that knows the step."""

    def __call__(self, masks: Any, areas: Any, evidence: Any, absence: Any, *, step: int) -> Any:
        return super().__call__(masks, areas, evidence, absence, step=step) * (step > 3)


@pytest.mark.parametrize(
    ("option", "changes", "reason"),
    [
        ("cuda_graphs", {}, "the device is cpu"),
        ("cuda_graphs", {"objective": Late()}, "Late may do other work at each step"),
        ("compile", {"objective": Late()}, "Late may do other work at each step"),
    ],
)
def test_what_cannot_be_had_is_said_once_and_changes_nothing(
    tiny: FrozenClassifier, option: str, changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    method = replace(METHOD, steps=4, explanations=2, **changes)
    plain = fitted(tiny, method)
    require_equal(fitted(tiny, replace(method, **{option: True})), plain, tolerance=0)
    expected = f"{option} is not used, as {reason}; the results are the same, and the fit goes on without it"
    assert expected in caplog.messages
    assert len(caplog.messages) == len(set(caplog.messages))


def test_a_perturbation_that_is_no_blend_is_not_replayed(
    tiny: FrozenClassifier, without_graphs: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    method = replace(METHOD, steps=4, perturbation=BlurPyramid())
    require_equal(fitted(tiny, replace(method, cuda_graphs=True)), fitted(tiny, method))
    assert without_graphs == [0, 0]
    assert len(caplog.messages) == 1
    assert "the perturbation is no blend with a baseline" in caplog.text


def test_a_step_that_cannot_be_captured_is_made_as_ever(
    tiny: FrozenClassifier, without_graphs: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(work: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(acceleration, "capture", fails)
    method = replace(METHOD, explanations=2)
    require_equal(fitted(tiny, replace(method, cuda_graphs=True)), fitted(tiny, method))
    assert len(caplog.messages) == 1
    assert "no graph of a step can be made (RuntimeError: operation not permitted" in caplog.messages[0]


@pytest.mark.slow
def test_functions_are_compiled_once_in_a_process(tiny: FrozenClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    called: list[str] = []

    def compile_nothing(function: Callable[..., Any], *, dynamic: bool) -> Callable[..., Any]:
        made.append(function.__name__)

        def run(*arguments: Any) -> Any:
            called.append(function.__name__)
            return function(*arguments)

        return run

    monkeypatch.setattr(torch, "compile", compile_nothing)
    for name in ("default", "shifts that end", "two turns"):
        method = replace(METHOD, **ALL[name])
        require_equal(fitted(tiny, replace(method, compile=True)), fitted(tiny, method))
    assert made == ["masks_of", "images_of"]
    assert {*called} == {"masks_of", "images_of"}
    called.clear()
    fitted(tiny, replace(METHOD, **ALL["default"], compile=True))
    assert called == ["masks_of", "images_of"] * 2 * (METHOD.steps - 1)


@pytest.mark.parametrize("early", [True, False])
def test_without_a_compiler_a_fit_goes_on(
    tiny: FrozenClassifier, early: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def fails(*arguments: Any, **options: Any) -> Any:
        calls.append("compile")
        raise RuntimeError("no C++ compiler is found")

    monkeypatch.setattr(torch, "compile", fails if early else lambda function, dynamic: fails)
    method = replace(METHOD, explanations=2)
    require_equal(fitted(tiny, replace(method, compile=True)), fitted(tiny, method))
    assert calls == ["compile"], "the next fits do not try again"
    assert caplog.messages == [
        "compile is not used, as torch.compile fails (RuntimeError: no C++ compiler is found); the results are the "
        "same, and the fit goes on without it"
    ]


@pytest.mark.slow
def test_inductor_compiles_two_functions_for_two_images_and_leaves_the_result() -> None:
    losses, masks, functions, said = compiled_fit("cpu")
    assert losses < 1e-6
    assert masks < 1e-3
    assert (functions, said) == (2, [])


def layout_and_precision(classifier: FrozenClassifier) -> tuple[set[tuple[bool, bool, torch.dtype]], Any]:
    """Records of a convolution whether its inputs and its weights are channels_last, and the type of its outputs."""
    seen: set[tuple[bool, bool, torch.dtype]] = set()

    def record(part: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        layouts = [value.is_contiguous(memory_format=torch.channels_last) for value in (inputs[0], part.weight)]
        seen.add((layouts[0], layouts[1], output.dtype))

    assert isinstance(classifier.model, nn.Module)
    convolution = next(part for part in classifier.model.modules() if isinstance(part, nn.Conv2d))
    return seen, convolution.register_forward_hook(record)


@pytest.mark.parametrize("channels_last", [None, True, False])
def test_the_layout_is_that_of_the_classifier_unless_it_is_asked_for(
    tiny: FrozenClassifier, channels_last: bool | None
) -> None:
    plain = fitted(tiny, METHOD)
    for own in (torch.contiguous_format, torch.channels_last):
        tiny.memory_format = own
        seen, hook = layout_and_precision(tiny)
        require_equal(fitted(tiny, replace(METHOD, channels_last=channels_last)), plain)
        hook.remove()
        expected = channels_last if channels_last is not None else own == torch.channels_last
        assert seen == {(expected, expected, torch.float64)}
        assert tiny.memory_format == own


class Viewing(nn.Module):
    """A network that views feature maps, which are then to be contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(36, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.convolution(images).view(len(images), -1))


def test_a_classifier_that_fails_in_a_layout_keeps_its_own(
    tiny: FrozenClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = tiny.of(Viewing())
    method = replace(METHOD, steps=3)
    plain = fitted(classifier, method)
    for _ in range(2):
        require_equal(fitted(classifier, replace(method, channels_last=True)), plain, tolerance=0)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("channels_last is not used, as the classifier fails in this memory layout")


@pytest.mark.parametrize("options", [{}, {"compile": True, "cuda_graphs": True}])
def test_half_precision_is_that_of_the_classifier_alone(
    tiny: FrozenClassifier, without_graphs: list[int], options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    method = replace(METHOD, explanations=2, channels_last=True, **options)
    seen, hook = layout_and_precision(tiny)
    half = fitted(tiny, method, precision="bf16-mixed")
    hook.remove()
    # Beside the steps, images pass in single precision: before the fit, and for its start.
    assert {entry for entry in seen if entry[2] != torch.float32} == {(True, True, torch.bfloat16)}
    areas = torch.tensor(METHOD.areas)
    assert (half.masks.double().mean((-2, -1)) - areas).abs().max() < 1e-4
    hard = [hard_masks(half.masks[:, k], areas, generators=[torch.Generator() for _ in "abc"]) for k in (0, 1)]
    for masks in hard:
        assert masks.sum((-2, -1)).tolist() == [pixel_counts(areas, 24 * 24)] * 3
    assert not (hard[0][:, -1] & hard[1][:, -1]).any()
    assert {value.dtype for image in half.networks for fit in image for value in fit.values()} == {torch.float32}
    single = fitted(tiny, replace(method, compile=False, cuda_graphs=False), precision="32-true")
    assert (half.losses - single.losses).abs().mean() < 0.05
