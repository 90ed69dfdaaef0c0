"""Fits: independence of images, areas, exclusion, the gradient through chunks, and that the classifier is unchanged."""

import contextlib
import functools
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning
import pytest
import torch

from inr_xai.area import AreaProjection, RankPenalty
from inr_xai.classifier import FrozenClassifier, demo, from_torchvision
from inr_xai.data import ImageFolder, Synthetic
from inr_xai.errors import UserError
from inr_xai.fitting.drawing import load_networks
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.stack import NOT_FINITE
from inr_xai.inr import FourierINR
from inr_xai.limits import Exclusion
from inr_xai.masks import hard_masks, nesting_violation
from inr_xai.method import Method
from inr_xai.objective import Hybrid
from inr_xai.types import Batch
from tests.conftest import pictures

SHORT = Method(areas=(0.1, 0.3), explanations=2, steps=4)
CPU = {"accelerator": "cpu", "devices": 1}


def hard(masks: torch.Tensor, areas: tuple[float, ...]) -> torch.Tensor:
    return hard_masks(masks, torch.tensor(areas), generators=[torch.Generator()] * len(masks))


def iou(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.slow
def test_default_fit_alone_and_in_a_batch_of_eight_agrees_in_float64() -> None:
    classifier, data = demo(), Synthetic(8)
    samples = [data.load(sample_id, classifier.preprocessing) for sample_id in data.ids]
    images = torch.stack([sample.image for sample in samples])
    targets = torch.tensor([sample.target for sample in samples])
    method = Method(areas=(0.2,), images_per_fit=8)
    trainer = CPU | {"precision": "64-true"}
    together = fit_masks(images, targets, data.ids, classifier, method, trainer=trainer)
    fifth = slice(5, 6)
    alone = fit_masks(images[fifth], targets[fifth], data.ids[fifth], classifier, method, trainer=trainer)
    assert (together.losses[fifth] - alone.losses).abs().max() < 1e-6
    masks = []
    for places, fitted in ((slice(None), together), (fifth, alone)):
        batch = Batch(images[places].double(), targets[places], data.ids[places])
        module = MaskModule(batch, explanation=1, classifier=classifier, method=method)
        load_networks(module.inr, [networks[0] for networks in fitted.networks])
        module.on_fit_start()
        masks.append(module.current_masks(1.0).detach())
    assert masks[0].dtype == torch.float64
    assert (masks[0][fifth] - masks[1]).abs().max() < 1e-6


@pytest.mark.slow
def test_fit_on_photos_alone_and_in_a_batch_gives_the_same_hard_masks(real_data: Path) -> None:
    checkpoint = real_data / "squeezenet1_0-imagenet1k.safetensors"
    classifier = from_torchvision("squeezenet1_0", checkpoint=checkpoint)
    data = ImageFolder(real_data / "imagenet-samples", targets="label")
    ids = data.ids[::50]
    samples = [data.load(sample_id, classifier.preprocessing) for sample_id in ids]
    images, targets = torch.stack([s.image for s in samples]), torch.tensor([s.target for s in samples])
    method = Method(areas=(0.1, 0.3))
    together = fit_masks(images, targets, ids, classifier, method)
    alone = fit_masks(images[2:3], targets[2:3], ids[2:3], classifier, method)
    for a in range(2):
        assert (
            iou(hard(together.masks[2:3, 0], method.areas)[:, a], hard(alone.masks[:, 0], method.areas)[:, a]) >= 0.98
        )


def test_masks_have_their_areas_and_share_no_pixel(tiny: FrozenClassifier) -> None:
    fitted = fit_masks(pictures(3), torch.tensor([0, 1, 2]), list("abc"), tiny, SHORT)
    assert fitted.masks.shape == (3, 2, 2, 24, 24)
    error = (fitted.masks.double().mean((-2, -1)) - torch.tensor(SHORT.areas)).abs()
    assert error.max() < 1e-4
    first, second = (hard(fitted.masks[:, k], SHORT.areas) for k in range(2))
    assert not (first & second).any()
    # The second may use nothing of the first at its largest area.
    assert not (fitted.masks[:, 1].bool() & first[:, 1:]).any()


@pytest.mark.slow
def test_the_penalty_blocks_no_pixel_and_lowers_the_overlap(tiny: FrozenClassifier) -> None:
    def overlap(weight: float) -> float:
        method = replace(SHORT, exclusion=Exclusion("penalty", weight=weight), steps=40, images_per_fit=2)
        fitted = fit_masks(pictures(2), torch.tensor([0, 1]), list("ab"), tiny, method)
        assert fitted.free == [None, None]
        return float((fitted.masks[:, 0].float() * fitted.masks[:, 1].float()).mean())

    assert overlap(100.0) < 0.3 * overlap(0.0)


@pytest.mark.parametrize("rule", [AreaProjection(), RankPenalty()], ids=lambda rule: type(rule).__name__)
def test_fitting_raises_the_class(tiny: FrozenClassifier, rule: AreaProjection | RankPenalty) -> None:
    method = Method(areas=(0.2,), steps=60, area_rule=rule, images_per_fit=2)
    fitted = fit_masks(pictures(2), torch.tensor([0, 3]), list("ab"), tiny, method)
    assert (fitted.losses[:, 0, -10:].mean(1) < fitted.losses[:, 0, :10].mean(1)).all()


@pytest.mark.slow
def test_masks_per_forward_changes_no_result(tiny: FrozenClassifier) -> None:
    method = replace(SHORT, objective=Hybrid(), steps=10, images_per_fit=3)
    images, targets = pictures(3), torch.tensor([0, 1, 2])
    whole, parts = (
        fit_masks(
            images,
            targets,
            list("abc"),
            tiny,
            replace(method, masks_per_forward=size),
            trainer=CPU | {"precision": "64-true"},
        )
        for size in (64, 1)
    )
    torch.testing.assert_close(whole.losses, parts.losses, atol=1e-6, rtol=1e-6)


class Breaks(lightning.Callback):
    """Raises in the middle of a fit."""

    def on_train_batch_end(self, *_: object) -> None:
        raise RuntimeError("broken on purpose")


@pytest.mark.parametrize("callbacks", [(), (Breaks(),)], ids=["success", "error"])
def test_the_model_is_not_changed(tiny: FrozenClassifier, callbacks: tuple[lightning.Callback, ...]) -> None:
    tiny.model.train()
    tiny.model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in tiny.model.parameters()]
    context = pytest.raises(RuntimeError, match="on purpose") if callbacks else contextlib.nullcontext()
    with context:
        fit_masks(pictures(2), torch.tensor([0, 1]), list("ab"), tiny, SHORT, callbacks=callbacks)
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())
    assert [(p.requires_grad, p.grad) for p in tiny.model.parameters()] == flags
    assert all(part.training for part in tiny.model.modules())


@pytest.mark.slow
def test_an_image_without_finite_logits_fails_alone(tiny: FrozenClassifier) -> None:
    images, targets = pictures(3), torch.tensor([0, 1, 2])
    good = fit_masks(images, targets, list("abc"), tiny, SHORT)
    images[1] = torch.inf
    fitted = fit_masks(images, targets, list("abc"), tiny, SHORT)
    assert fitted.failures == {1: NOT_FINITE}
    torch.testing.assert_close(fitted.masks[[0, 2]], good.masks[[0, 2]], atol=1e-3, rtol=0)


def test_target_outside_the_classes_is_refused(tiny: FrozenClassifier) -> None:
    with pytest.raises(UserError, match=r"class 5 does not exist: the classifier has 5 classes \(0 to 4\)"):
        fit_masks(pictures(1), torch.tensor([5]), ["a"], tiny, SHORT)


def test_the_caller_may_have_switched_off_gradients(tiny: FrozenClassifier) -> None:
    images, targets = pictures(1), torch.tensor([0])
    expected = fit_masks(images, targets, ["a"], tiny, SHORT).masks
    with torch.no_grad():
        assert torch.equal(fit_masks(images, targets, ["a"], tiny, SHORT).masks, expected)
    with torch.inference_mode():
        assert torch.equal(fit_masks(pictures(1), torch.tensor([0]), ["a"], tiny, SHORT).masks, expected)


def test_draws_depend_on_seed_and_id_alone(tiny: FrozenClassifier) -> None:
    images, targets = pictures(2), torch.tensor([0, 1])
    expected = fit_masks(images, targets, ["a", "b"], tiny, SHORT).masks
    reversed_masks = fit_masks(images.flip(0), targets.flip(0), ["b", "a"], tiny, SHORT).masks
    torch.testing.assert_close(reversed_masks.flip(0), expected, atol=1e-3, rtol=0)
    other = fit_masks(images, targets, ["a", "b"], tiny, replace(SHORT, seed=1)).masks
    assert (other.float() - expected.float()).abs().max() > 0.1


def test_a_sigmoid_head_changes_the_fit(tiny: FrozenClassifier) -> None:
    multi = FrozenClassifier(tiny.model, preprocessing=tiny.preprocessing, head="sigmoid")
    fitted = fit_masks(pictures(1), torch.tensor([0]), ["a"], multi, replace(SHORT, steps=2, total_variation=0.0))
    soft = fit_masks(pictures(1), torch.tensor([0]), ["a"], tiny, replace(SHORT, steps=2, total_variation=0.0))
    assert not torch.equal(fitted.losses, soft.losses)
    assert fitted.losses.isfinite().all()


def test_on_a_cpu_no_bit_depends_on_the_batch(tiny: FrozenClassifier) -> None:
    images, targets = pictures(3), torch.tensor([0, 1, 2])
    together = fit_masks(images, targets, list("abc"), tiny, SHORT)
    alone = [fit_masks(images[i : i + 1], targets[i : i + 1], ["abc"[i]], tiny, SHORT) for i in range(3)]
    assert torch.equal(together.masks, torch.cat([fitted.masks for fitted in alone]))
    assert together.spans == [(0, 8), (8, 16), (16, 24)]


def test_nested_masks_contain_each_other(tiny: FrozenClassifier) -> None:
    inr = functools.partial(FourierINR, conditioning="none")
    method = replace(SHORT, areas=(0.1, 0.2, 0.3), inr=inr, nested=True)
    masks = fit_masks(pictures(2), torch.tensor([0, 1]), list("ab"), tiny, method).masks
    for k in range(2):
        assert (nesting_violation(masks[:, k], torch.tensor(method.areas)) == 0).all()


class Stopper(lightning.Callback):
    """A callback that ends the first fit, after its first step, by doing something."""

    def __init__(self, act: Callable[[], object]):
        self.act = act

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        self.act()


def test_a_signal_during_a_fit_is_what_it_is_outside() -> None:
    """Lightning makes an exit with status 1 of Ctrl-C, and one that means success of SIGTERM."""

    def fit(act: Callable[[], object]) -> None:
        images, targets = torch.rand(1, 3, 64, 64), torch.tensor([0])
        fit_masks(images, targets, ["a"], demo(), SHORT, callbacks=[Stopper(act)], trainer=CPU)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(KeyboardInterrupt):
        fit(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as caught:
        fit(lambda: signal.raise_signal(signal.SIGTERM))
    assert caught.value.code == 143
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_handler_that_lets_sigterm_pass_does_so_during_a_fit() -> None:
    """As that of submitit, which waits for what the cluster sends next."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        images, targets = torch.rand(1, 3, 64, 64), torch.tensor([0])
        stopper = Stopper(lambda: signal.raise_signal(signal.SIGTERM))
        fitted = fit_masks(images, targets, ["a"], demo(), SHORT, callbacks=[stopper], trainer=CPU)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(received) == SHORT.steps * SHORT.most
    assert fitted.losses.isfinite().all()
