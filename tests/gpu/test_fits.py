"""Fits on a GPU: stacks against single images, no wait of the host, half precision, scarce memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightning
import pytest
import torch
from torch import nn

from inr_xai.area import RankPenalty
from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import FitResult, fit_masks
from inr_xai.masks import hard_masks, pixel_counts
from inr_xai.method import Method
from inr_xai.objective import Hybrid
from inr_xai.perturbation import Jitter
from tests.conftest import pictures
from tests.helpers.compiled_fit import compiled_fit
from tests.helpers.memory import Scarce
from tests.helpers.scripts import script_module

# Libraries and drivers of a GPU warn of what is not ours.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

METHOD = Method(areas=(0.05, 0.1, 0.3), explanations=2, steps=20)
IDS = "abcdefgh"
Trainer = Mapping[str, Any]


def fitted(
    classifier: FrozenClassifier, method: Method, trainer: Trainer, callbacks: Sequence[lightning.Callback] = ()
) -> FitResult:
    """Fits eight images of a width that differs from their height, with four others as donors."""
    images, targets = pictures(12, side=32)[..., :24], torch.arange(8) % 5
    result = fit_masks(
        images[:8],
        targets,
        list(IDS),
        classifier,
        method,
        donors=images[8:],
        callbacks=callbacks,
        trainer=trainer,
    )
    assert not result.failures
    return result


def require_exact_areas(result: FitResult, areas: tuple[float, ...]) -> None:
    """Checks that masks have their areas, that hard masks have them to the pixel, and that no two share a pixel."""
    expected = torch.tensor(areas)
    assert (result.masks.double().mean((-2, -1)) - expected).abs().max() < 1e-3
    taken = torch.zeros(result.masks.shape[0], len(areas), *result.masks.shape[-2:], dtype=torch.long)
    pixels = result.masks.shape[-2] * result.masks.shape[-1]
    for explanation, free in enumerate(result.free):
        masks = result.masks[:, explanation]
        ties = [torch.Generator() for _ in masks]
        hard = hard_masks(masks, expected, generators=ties, free=None if free is None else free.cpu())
        assert hard.sum((-2, -1)).tolist() == [pixel_counts(expected, pixels)] * len(masks)
        taken += hard
    assert int(taken.max()) == 1


def test_a_stack_of_eight_gives_the_masks_of_single_images(tiny: FrozenClassifier, trainer: Trainer) -> None:
    exact = {**trainer, "precision": "64-true"}
    method = replace(METHOD, explanations=1)
    together = fitted(tiny, replace(method, images_per_fit=8), exact)
    alone = fitted(tiny, replace(method, images_per_fit=1), exact)
    assert (together.losses - alone.losses).abs().max() < 1e-6
    # Stored masks have half precision, and ties at the threshold are moved by one unit.
    assert (together.masks.float() - alone.masks.float()).abs().max() < 1e-3
    require_exact_areas(fitted(tiny, replace(METHOD, images_per_fit=8), trainer), tuple(METHOD.areas))


def test_where_memory_runs_out_fewer_masks_pass_at_once(tiny: FrozenClassifier, trainer: Trainer) -> None:
    exact = {**trainer, "precision": "64-true"}
    method = replace(METHOD, images_per_fit=8, explanations=1, masks_per_forward=24)
    plenty = fitted(tiny, method, exact)
    assert isinstance(tiny.model, nn.Module)
    scarce = Scarce(tiny.model, most=8, refusal=torch.OutOfMemoryError("out of memory"))
    halved = fitted(tiny.of(scarce), method, exact)
    assert scarce.refused >= 2, "24 and 12 are too many"
    assert (plenty.losses - halved.losses).abs().max() < 1e-6
    assert (plenty.masks.float() - halved.masks.float()).abs().max() < 1e-3


class NoWaits(lightning.Callback):
    """Steps after the first must not make the host wait: PyTorch makes an error of it, and operators are counted.

    Attributes:
        first: the first step that is watched.
    """

    def __init__(self, device: torch.device):
        self._on_gpu = device.type == "cuda"
        self.first = 1
        self.steps: list[Any] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx >= self.first:
            self.steps.append(script_module("operator_count").OperatorCount())
            self.steps[-1].__enter__()
            if self._on_gpu:
                torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx >= self.first:
            self.allow_waits()
            self.steps[-1].__exit__(None, None, None)

    def allow_waits(self) -> None:
        if self._on_gpu:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def no_waits(device: torch.device) -> Iterator[NoWaits]:
    callback = NoWaits(device)
    yield callback
    callback.allow_waits()


def test_no_step_after_the_first_waits_for_the_device(
    tiny: FrozenClassifier, trainer: Trainer, no_waits: NoWaits
) -> None:
    method = replace(METHOD, steps=40, images_per_fit=8, explanations=1)
    fitted(tiny, method, trainer, [no_waits])
    assert len(no_waits.steps) == 39
    assert [step.reads for step in no_waits.steps] == [0] * 39
    assert [step.writes for step in no_waits.steps] == [0] * 39


def test_half_precision_of_the_classifier_keeps_exact_areas(tiny: FrozenClassifier, trainer: Trainer) -> None:
    assert isinstance(tiny.model, nn.Module)
    convolution = next(part for part in tiny.model.modules() if isinstance(part, nn.Conv2d))
    seen: set[torch.dtype] = set()
    handle = convolution.register_forward_hook(lambda part, inputs, output: seen.add(output.dtype))
    half = fitted(tiny, METHOD, {**trainer, "precision": "bf16-mixed"})
    handle.remove()
    assert torch.bfloat16 in seen
    require_exact_areas(half, tuple(METHOD.areas))
    assert all(weight.dtype != torch.bfloat16 for image in half.networks for fit in image for weight in fit.values())
    # The masks are those of single precision but for the noise of half precision, which a fit amplifies.
    single = fitted(tiny, METHOD, trainer)
    areas = torch.tensor(METHOD.areas)
    first, second = (
        hard_masks(result.masks[:, 0], areas, generators=[torch.Generator() for _ in IDS]) for result in (half, single)
    )
    assert (first & second).sum() > 0.5 * (first | second).sum()


GRAPHED = {
    "default": {},
    "shifts": {"jitter": Jitter(0.05)},
    "two turns": {"objective": Hybrid()},
    "penalty": {"area_rule": RankPenalty()},
}


@pytest.mark.parametrize("precision", ["64-true", "32-true", "bf16-mixed"])
@pytest.mark.parametrize("changes", GRAPHED.values(), ids=list(GRAPHED))
def test_steps_that_are_replayed_have_the_results_of_steps_that_are_not(
    tiny: FrozenClassifier,
    trainer: Trainer,
    device: torch.device,
    changes: dict[str, Any],
    precision: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    method = replace(METHOD, images_per_fit=8, explanations=1, **changes)
    plain, graphed = (
        fitted(tiny, replace(method, cuda_graphs=graphs), {**trainer, "precision": precision})
        for graphs in (False, True)
    )
    said = [message for message in caplog.messages if message.startswith("cuda_graphs is not used")]
    assert len(said) == 0 if device.type == "cuda" else len(said) <= 1
    if precision == "64-true":
        assert (plain.losses - graphed.losses).abs().max() < 1e-6
        assert (plain.masks.float() - graphed.masks.float()).abs().max() < 1e-3
    else:  # fits amplify rounding
        assert (plain.losses[:, :, :3] - graphed.losses[:, :, :3]).abs().max() < 0.05
    if method.area_rule.exact:
        require_exact_areas(graphed, tuple(METHOD.areas))


def test_no_replayed_step_waits_for_the_device(
    tiny: FrozenClassifier, trainer: Trainer, device: torch.device, no_waits: NoWaits
) -> None:
    method = replace(METHOD, steps=40, images_per_fit=8, explanations=1, cuda_graphs=True)
    no_waits.first = 2  # the second step is captured, which waits
    fitted(tiny, method, trainer, [no_waits])
    assert len(no_waits.steps) == 38
    assert [step.reads for step in no_waits.steps] == [0] * 38
    if device.type == "cuda":  # what a graph replays is not given to the dispatcher
        assert max(step.operators for step in no_waits.steps[:29]) < 150


class Reading(nn.Module):
    """A classifier whose control flow depends on what it computes, so that no graph of it can be made."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.network(images)
        return logits if bool(logits.sum() > 1e9) else logits * 1


def test_a_classifier_of_which_no_graph_can_be_made_is_fitted_without(
    tiny: FrozenClassifier, trainer: Trainer, device: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(tiny.model, nn.Module)
    classifier = tiny.of(Reading(tiny.model))
    method, exact = replace(METHOD, images_per_fit=8), {**trainer, "precision": "64-true"}
    plain, graphed = (fitted(classifier, replace(method, cuda_graphs=graphs), exact) for graphs in (False, True))
    assert (plain.losses - graphed.losses).abs().max() < 1e-6
    said = [message for message in caplog.messages if message.startswith("cuda_graphs is not used")]
    if device.type == "cuda":
        assert len(said) == 1, "once, for two explanations"
        assert "no graph of a step can be made" in said[0]


@pytest.mark.parametrize("graphs", [[], ["graphs"]])
def test_compiled_functions_have_the_results_of_plain_ones(device: torch.device, graphs: list[str]) -> None:
    if device.type == "cpu":
        pytest.skip("tests/fitting/test_acceleration.py compiles for a processor")
    losses, masks, functions, said = compiled_fit("gpu", *graphs)
    assert losses < 1e-6
    assert masks < 1e-3
    assert (functions, said) == (2, [])


def test_channels_last_is_a_layout_alone(tiny: FrozenClassifier, trainer: Trainer) -> None:
    method, exact = replace(METHOD, images_per_fit=8, explanations=1), {**trainer, "precision": "64-true"}
    plain, last = (fitted(tiny, replace(method, channels_last=layout), exact) for layout in (False, True))
    assert (plain.losses - last.losses).abs().max() < 1e-6
    require_exact_areas(last, tuple(METHOD.areas))
