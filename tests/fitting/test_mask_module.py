"""One optimisation step: its gradient against autograd, what its state holds, and the length of a contour."""

import statistics
from dataclasses import replace
from typing import Any

import lightning
import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import draw_logits
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.trainers import light_trainer, quiet_lightning
from inr_xai.inr import INR, FeatureGridINR, PyramidINR
from inr_xai.method import Method
from inr_xai.objective import Regularity, total_variation
from inr_xai.perturbation import Jitter
from inr_xai.types import Batch
from tests.conftest import pictures
from tests.helpers.operators import count_steps

DOUBLE = {"accelerator": "cpu", "precision": "64-true"}
SHORT = Method(areas=(0.1, 0.3), explanations=2, steps=4)


def test_gradient_through_chunks_agrees_with_autograd(tiny: FrozenClassifier) -> None:
    images, targets = pictures(3).double(), torch.tensor([0, 1, 2])
    with tiny.frozen("cpu", torch.float64):
        method = replace(SHORT, masks_per_forward=2, jitter=Jitter(0.0))
        batch = Batch(images, targets, list("abc"))
        module = MaskModule(batch, explanation=1, classifier=tiny, method=method)
        kept = (pictures(6).double().reshape(3, 2, 3, 24, 24)).requires_grad_()
        weights = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        score = method.score.evidence
        chunked = module._score_masks(lambda _: kept, score, 1.0, torch.ones(3, 2, 24, 24))
        (gradient,) = torch.autograd.grad((chunked * weights).sum(), kept)
        direct = score(tiny(kept.flatten(0, 1)), targets.repeat_interleave(2), sigmoid=False).reshape(3, 2)
        (expected,) = torch.autograd.grad((direct * weights).sum(), kept)
    torch.testing.assert_close(chunked, direct)
    torch.testing.assert_close(gradient, expected)


def test_the_classifier_is_no_part_of_the_module(tiny: FrozenClassifier) -> None:
    batch = Batch(pictures(1), torch.tensor([0]), ["a"])
    module = MaskModule(batch, explanation=1, classifier=tiny, method=SHORT)
    assert all(name.startswith("inr.") for name in module.state_dict())
    assert tiny.model not in list(module.modules())


def test_regularity_has_the_value_and_gradient_of_its_formula() -> None:
    masks = (pictures(2).double()[:, :2, :, :20] * 0.9).requires_grad_()
    upstream = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    down, across = masks.diff(dim=-2).abs().sum((-2, -1)) / 20, masks.diff(dim=-1).abs().sum((-2, -1)) / 24
    direct = 0.3 * (down + across) + 0.7 * (4 * masks * (1 - masks)).mean((-2, -1))
    (expected,) = torch.autograd.grad(direct, masks, upstream)
    value = Regularity.apply(masks, 0.3, 0.7)
    (gradient,) = torch.autograd.grad(value, masks, upstream)
    torch.testing.assert_close(value, direct)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("inr", [FeatureGridINR, PyramidINR])
@pytest.mark.slow
def test_a_step_waits_for_nothing_and_gives_as_many_operators_for_any_number_of_images(
    tiny: FrozenClassifier, inr: type[INR]
) -> None:
    method = Method(steps=34, inr=inr, masks_per_forward=64)
    alone, together = (count_steps(tiny, method, images) for images in (1, 8))
    assert len(method.areas) == 4
    for counts in (alone, together):
        # The first step finds tau without one of a step before it, and step 32 draws the noise of 32 steps.
        assert set(counts.reads[1:]) == {0}
        assert statistics.mean(counts.kernels[1:33]) <= 150
        assert max(counts.kernels[1:]) <= 350
        assert statistics.mean(counts.operators[1:33]) <= 250
    # A single image lacks some family in some steps, which then has no operator.
    ordinary = [step for step in range(1, 32) if alone.operators[step] > together.operators[step]]
    assert ordinary == []
    assert max(together.operators[1:32]) - min(alone.operators[1:32]) < 30


def test_out_of_memory_halves_the_masks_per_forward(tiny: FrozenClassifier, caplog: pytest.LogCaptureFixture) -> None:
    """What a small memory makes of a fit is what a large one does."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.most = tiny.model, 100

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if len(inputs) > self.most:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return self.model(inputs)

    model = Small()
    classifier, losses = tiny.of(model), []
    for most in (100, 2):
        model.most = most
        batch = Batch(pictures(3).double(), torch.tensor([0, 1, 2]), list("abc"))
        with classifier.frozen("cpu", torch.float64), quiet_lightning():
            module = MaskModule(batch, explanation=1, classifier=classifier, method=SHORT)
            with light_trainer(DOUBLE, ()) as trainer:
                trainer.fit(module, list(range(SHORT.steps)))
        losses.append(torch.stack(module.losses))
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-6)
    assert [record.getMessage().split()[-1] for record in caplog.records] == ["masks_per_forward=2"]
    model.most = 0
    with classifier.frozen("cpu", torch.float64), quiet_lightning():
        module = MaskModule(batch, explanation=1, classifier=classifier, method=SHORT)
        with light_trainer(DOUBLE, ()) as trainer, pytest.raises(UserError, match="out of memory"):
            trainer.fit(module, list(range(SHORT.steps)))


@pytest.mark.parametrize(("optimizer", "fused"), [(torch.optim.Adam, True), (torch.optim.Adagrad, None)])
def test_an_optimiser_is_fused_unless_it_has_a_state_before_its_first_step(
    tiny: FrozenClassifier, optimizer: Any, fused: bool | None
) -> None:
    module = MaskModule(
        Batch(pictures(1), torch.tensor([0]), ["a"]),
        explanation=1,
        classifier=tiny,
        method=replace(SHORT, optimizer=optimizer),
    )
    made: Any = module.configure_optimizers()
    assert [group["fused"] for group in made["optimizer"].param_groups] == [fused]


@pytest.mark.parametrize("decay", [1.0, 0.2])
def test_the_learning_rate_falls_by_the_decay(tiny: FrozenClassifier, decay: float) -> None:
    rates: list[float] = []

    class Rates(lightning.Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    batch = Batch(pictures(1), torch.tensor([0]), ["a"])
    with tiny.frozen("cpu", torch.float32), quiet_lightning():
        module = MaskModule(batch, explanation=1, classifier=tiny, method=replace(SHORT, steps=5, decay=decay))
        with light_trainer({"accelerator": "cpu"}, [Rates()]) as trainer:
            trainer.fit(module, list(range(5)))
    assert rates == pytest.approx([0.01 * decay ** (step / 4) for step in range(5)])


def test_total_variation_is_the_length_of_a_contour() -> None:
    square = torch.zeros(1, 1, 20, 20)
    square[..., 5:15, 5:15] = 1
    assert float(total_variation(square)) == pytest.approx(4 * 10 / 20)


def test_an_inr_starts_from_its_field_and_from_its_draws_if_it_has_none(tiny: FrozenClassifier) -> None:
    batch = Batch(pictures(2).double(), torch.tensor([0, 1]), ["a", "b"])
    x = torch.linspace(-1, 1, 24, dtype=torch.float64)
    field = torch.stack([x[:, None] * x, torch.full((24, 24), torch.nan, dtype=torch.float64)])
    options = {"explanation": 1, "classifier": tiny, "method": replace(SHORT, inr=PyramidINR)}
    drawn, started = MaskModule(batch, **options), MaskModule(batch, **options, start=field)  # type: ignore[arg-type]
    for name, value in started.inr.state_dict().items():
        assert torch.equal(value[1], drawn.inr.state_dict()[name][1])
    logits = draw_logits(started.inr, started.areas, (24, 24))
    torch.testing.assert_close(logits[0], field[:1].expand(2, -1, -1), rtol=0, atol=0.05)
