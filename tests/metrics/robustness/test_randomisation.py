"""Randomisation tests: which layers are drawn and how, the similarities that follow, and Quantus's where it agrees."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from inr_xai import INRAttribution
from inr_xai.metrics.robustness.randomisation import (
    EfficientMPRT,
    RandomisationSimilarity,
    cascading,
    efficient_mprt,
    histogram_entropy,
    independent,
    mprt,
    other_classes,
    random_logit,
    randomisable_layers,
    randomised,
)
from inr_xai.metrics.robustness.similarity import spearman
from inr_xai.seeding import generator
from tests.conftest import pictures, tiny_network
from tests.helpers.metric_inputs import draws

TARGETS = torch.tensor([1, 3, 0])
LAYERS = ["5", "1", "0"]  # of the tiny network: linear, batch normalisation, convolution


def gradient(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Explains by the gradient of the target's logit, summed over channels."""
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        chosen = model(leaf).gather(1, targets.unsqueeze(1)).sum()
        return torch.autograd.grad(chosen, leaf)[0].sum(1)


def changed_layers(model: nn.Module, other: nn.Module) -> set[str]:
    """Returns the names of the modules with a parameter or buffer that differs."""
    before, after = model.state_dict(), other.state_dict()
    return {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def trained_network() -> nn.Module:
    """Returns the tiny network with other running statistics than those of a reset."""
    network = tiny_network()
    network[1].running_mean -= 0.1
    return network.eval()


def test_layers_come_last_registered_first() -> None:
    assert randomisable_layers(tiny_network()) == LAYERS


def test_cascading_adds_layers_and_independent_exchanges_them() -> None:
    network = trained_network()
    grown = {name: changed_layers(network, model) for name, model in cascading(network)}
    assert grown == {"5": {"5"}, "1": {"5", "1"}, "0": {"5", "1", "0"}}
    single = {name: changed_layers(network, model) for name, model in independent(network)}
    assert single == {"5": {"5"}, "1": {"1"}, "0": {"0"}}
    upwards = {name: changed_layers(network, model) for name, model in cascading(network, layers=["0", "5"])}
    assert upwards == {"0": {"0"}, "5": {"0", "5"}}


def test_weights_follow_from_seed_and_name_alone() -> None:
    network = trained_network()
    cascade, single = dict(cascading(network, seed=3)), dict(independent(network, seed=3))
    whole = randomised(network, LAYERS[::-1], seed=3)
    assert changed_layers(cascade["0"], whole) == set()
    assert torch.equal(single["0"][0].weight, whole[0].weight)
    assert not torch.equal(randomised(network, LAYERS, seed=4)[0].weight, whole[0].weight)


def test_layers_of_one_shape_get_weights_of_their_own_as_their_initialisation_has_them() -> None:
    network = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    first, second = (layer.weight.detach() for layer in randomised(network, ["0", "1"], seed=0))
    assert not torch.isclose(first, second).all()
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 0.05
    assert float(first.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.03)  # uniform in [-0.1, 0.1]


def test_models_already_given_do_not_change_later() -> None:
    network = trained_network()
    models = [model for _, model in cascading(network)]
    assert [changed_layers(network, model) for model in models] == [{"5"}, {"5", "1"}, {"5", "1", "0"}]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_dtype_is_that_of_the_model_and_tied_weights_stay_tied(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).to(dtype)
    network[1].weight = network[0].weight
    other = randomised(network, ["1"], seed=0)
    assert other[0].weight is other[1].weight
    assert other[1].weight.dtype == dtype
    assert changed_layers(network, other) == {"0", "1"}


class Vandal:
    """An explainer that ruins the model it is given, and raises at call `fails`."""

    def __init__(self, fails: int):
        self.fails = fails

    def __call__(self, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        maps = gradient(model, images, targets)
        model.train().requires_grad_(False)
        model[0].weight.zero_()
        model[5].register_forward_hook(lambda *_: None)
        self.fails -= 1
        if self.fails == 0:
            raise RuntimeError("no explanation")
        return maps


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("order", [cascading, independent])
def test_the_model_and_the_global_generator_do_not_change_even_after_an_error(order, training: bool) -> None:
    network, images = trained_network().train(training), pictures(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = mprt(gradient, network, images, TARGETS, order=order)
    state = torch.get_rng_state()
    for fails in (1, 3, 9):
        if fails > 4:
            result = mprt(Vandal(fails), network, images, TARGETS, order=order)
            assert all(torch.equal(result[name], expected[name]) for name in LAYERS)
        else:
            with pytest.raises(RuntimeError, match="no explanation"):
                mprt(Vandal(fails), network, images, TARGETS, order=order)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert network.training is training
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert not network[5]._forward_hooks
        assert torch.equal(torch.get_rng_state(), state)


class Faulty(nn.Linear):
    """A layer that can be reset once, when it is made."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if getattr(self, "has_weights", False):
            raise RuntimeError("no weights")
        self.has_weights = True


def test_the_global_generator_is_restored_if_a_reset_fails() -> None:
    network, state = nn.Sequential(Faulty(3, 3)), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no weights"):
        randomised(network, ["0"], seed=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("order", [cascading, independent])
def test_mprt_against_loops(order) -> None:
    network, images = trained_network().double(), pictures(3).double()
    result = mprt(gradient, network, images, TARGETS, order=order, seed=2)
    assert list(result) == LAYERS
    original = gradient(network, images, TARGETS).numpy()
    drawn = dict(independent(network, seed=2))
    for position, name in enumerate(LAYERS):
        # A model that is put together by hand from the random layers and the others.
        random = LAYERS[: position + 1] if order is cascading else [name]
        model = nn.Sequential(*[drawn[str(i)][i] if str(i) in random else part for i, part in enumerate(network)])
        maps = gradient(model.eval(), images, TARGETS).numpy()
        expected = [scipy.stats.spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(original, maps, strict=True)]
        assert result[name].tolist() == pytest.approx(expected, abs=1e-9)


def test_an_explanation_that_ignores_the_model_has_the_worst_values() -> None:
    edges = mprt(lambda model, images, targets: images.sum(1).square(), tiny_network(), pictures(2), TARGETS[:2])
    assert torch.cat(list(edges.values())).tolist() == pytest.approx([1] * 6, abs=1e-6)
    blind = efficient_mprt(lambda model, images, targets: images.sum(1), tiny_network(), pictures(2), TARGETS[:2])
    assert blind.tolist() == [0, 0]
    same = random_logit(lambda images, targets: images.sum(1), pictures(2), TARGETS[:2], classes=5, generators=draws(2))
    assert same.tolist() == pytest.approx([1, 1], abs=1e-6)


@pytest.mark.parametrize("function", [mprt, efficient_mprt])
def test_an_image_does_not_depend_on_its_neighbours(function) -> None:
    network, images = trained_network().double(), pictures(3).double()
    values = lambda result: torch.stack(list(result.values())) if isinstance(result, dict) else result  # noqa: E731
    together = values(function(gradient, network, images, TARGETS))
    parts = zip(images.split(1), TARGETS.split(1), strict=True)
    alone = torch.cat([values(function(gradient, network, *part)) for part in parts], dim=-1)
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)
    assert len(together.flatten().unique()) > 2


def test_histogram_entropy_against_numpy() -> None:
    maps = torch.randn(3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[1] = (5 * maps[1]).round() / 5
    maps[2] = maps[2].exp() * 1000
    for bins in (2, 7, 100):
        expected = [scipy.stats.entropy(np.histogram(image, bins=bins)[0]) for image in maps.numpy()]
        assert histogram_entropy(maps, bins=bins).tolist() == pytest.approx(expected, abs=1e-12)


def test_histogram_entropy_by_hand() -> None:
    levels = torch.arange(100.0).reshape(1, 10, 10)
    assert histogram_entropy(levels).item() == pytest.approx(math.log(100), abs=1e-6)
    assert histogram_entropy(torch.full((1, 3, 3), 0.7)).item() == 0
    binary = torch.zeros(1, 10, 10)
    binary[:, :2] = 1
    expected = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert histogram_entropy(binary.half()).item() == pytest.approx(expected, abs=1e-6)


def test_efficient_mprt_is_the_relative_rise_at_the_end_of_the_cascade() -> None:
    network, images = trained_network().double(), pictures(3).double()
    result = efficient_mprt(gradient, network, images, TARGETS, seed=5)
    *_, (_, last) = cascading(network, seed=5)
    before, after = (
        [scipy.stats.entropy(np.histogram(image, bins=100)[0]) for image in gradient(model, images, TARGETS).numpy()]
        for model in (network, last)
    )
    assert result.tolist() == pytest.approx([(b - a) / a for a, b in zip(before, after, strict=True)], abs=1e-9)
    ranges = efficient_mprt(gradient, network, images, TARGETS, complexity=lambda maps: maps.amax((1, 2)), seed=5)
    assert not torch.isclose(ranges, result).any()


def test_efficient_mprt_of_a_constant_map_is_not_a_number() -> None:
    def explain(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return images.sum(1) * torch.tensor([0.0, 1.0]).reshape(2, 1, 1)

    result = efficient_mprt(explain, tiny_network(), pictures(2), TARGETS[:2])
    assert result.isnan().tolist() == [True, False]


class Settled(nn.Linear):
    """A layer whose reset depends on its shape alone, so that every package draws the same weights."""

    def reset_parameters(self) -> None:
        with torch.no_grad():
            values = (1.7 * torch.arange(self.weight.numel())).sin() * (2 / self.in_features) ** 0.5
            self.weight.copy_(values.reshape(self.weight.shape))
            self.bias.fill_(0.1)


def settled_network() -> nn.Module:
    """Returns a network of such layers with random weights."""
    network = nn.Sequential(nn.Flatten(), Settled(3 * 24 * 24, 16), nn.Tanh(), Settled(16, 7), nn.Tanh(), Settled(7, 5))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) / parameter.shape[-1] ** 0.5)
    return network.eval()


def quantus_explanation(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
    return gradient(model, torch.as_tensor(inputs).float(), torch.as_tensor(targets)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("order", "theirs"), [(cascading, "top_down"), (independent, "independent")])
def test_mprt_is_quantuss_if_layers_are_drawn_alike(order, theirs: str) -> None:
    quantus = pytest.importorskip("quantus")
    network, images = settled_network(), pictures(3)
    metric = quantus.MPRT(layer_order=theirs, abs=False, normalise=False, disable_warnings=True)
    expected = metric(
        model=network,
        x_batch=images.numpy(),
        y_batch=TARGETS.numpy(),
        explain_func=quantus_explanation,
        device="cpu",
    )
    result = mprt(gradient, network, images, TARGETS, order=order)
    assert set(expected) == {*result, "original"}
    for name, values in result.items():
        assert values.tolist() == pytest.approx(expected[name], abs=1e-6)
        assert max(abs(value) for value in expected[name]) < 0.95  # not the trivial agreement of equal maps


@pytest.mark.slow
def test_efficient_mprt_is_quantuss_if_layers_are_drawn_alike() -> None:
    quantus = pytest.importorskip("quantus")
    network, images = settled_network(), pictures(3)
    expected = quantus.EfficientMPRT(disable_warnings=True)(
        model=network,
        x_batch=images.numpy(),
        y_batch=TARGETS.numpy(),
        explain_func=quantus_explanation,
        device="cpu",
    )
    assert efficient_mprt(gradient, network, images, TARGETS).tolist() == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) == 3


@pytest.mark.slow
def test_random_logit_is_quantuss_for_two_classes() -> None:
    # With two classes the other class does not depend on the generator.
    quantus = pytest.importorskip("quantus")
    network, images, targets = settled_network(), pictures(3), torch.tensor([1, 0, 1])
    metric = quantus.RandomLogit(
        similarity_func=quantus.similarity_func.correlation_spearman,
        num_classes=2,
        normalise=False,
        disable_warnings=True,
    )
    expected = metric(
        model=network,
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        explain_func=quantus_explanation,
        device="cpu",
    )
    result = random_logit(
        lambda x, t: gradient(network, x, t), images, targets, classes=2, generators=draws(3), similarity=spearman
    )
    assert result.tolist() == pytest.approx(list(expected), abs=1e-6)


def test_random_logit_compares_target_and_other_class() -> None:
    network, images = trained_network().double(), pictures(3).double()

    def explain(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return gradient(network, inputs, targets)

    result = random_logit(explain, images, TARGETS, classes=5, generators=draws(3), similarity=spearman)
    others = other_classes(TARGETS, 5, generators=draws(3))
    for image in range(3):
        pair = [explain(images, classes)[image].numpy().ravel() for classes in (TARGETS, others)]
        assert float(result[image]) == pytest.approx(scipy.stats.spearmanr(*pair)[0], abs=1e-9)


def test_other_classes_are_uniform_over_all_but_the_target() -> None:
    targets = torch.arange(4).repeat(1000)
    others = other_classes(targets, 4, generators=draws(4000))
    for target in range(4):
        counts = others[targets == target].bincount(minlength=4).tolist()
        assert counts[target] == 0
        assert all(
            abs(count - 1000 / 3) < 4.5 * math.sqrt(1000 * 2 / 9) for i, count in enumerate(counts) if i != target
        )
    assert torch.equal(other_classes(targets[5:6], 4, generators=[generator(0, 5)]), others[5:6])


@pytest.mark.slow
def test_fitted_masks_are_an_explanation() -> None:
    # Two steps each; the explainer is a closure over the options.
    def explain_with(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        explainer = INRAttribution(model, steps=2)
        return explainer.importance(images, targets, areas=(0.2,), image_ids=["a", "b"])[:, 0]

    network, images, targets = tiny_network(), pictures(2), TARGETS[:2]
    with torch.no_grad():
        result = mprt(explain_with, network, images, targets, layers=["5"])
        rise = efficient_mprt(explain_with, network, images, targets, layers=["5"])
    original, changed = (
        explain_with(model, images, targets) for model in (network, randomised(network, ["5"], seed=0))
    )
    torch.testing.assert_close(result["5"], spearman(original, changed), atol=1e-6, rtol=0)
    assert (result["5"] < 0.9999).all()
    expected = histogram_entropy(changed) / histogram_entropy(original) - 1
    torch.testing.assert_close(rise, expected, atol=1e-6, rtol=0)


class Wide(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


@pytest.mark.parametrize("function", [mprt, efficient_mprt])
@pytest.mark.parametrize(
    ("network", "layers", "sentence"),
    [
        (
            tiny_network,
            ["5", "2"],
            r"layer '2' is not in the model or has no reset_parameters; there are \['5', '1', '0'\]",
        ),
        (tiny_network, ["head"], "layer 'head' is not in the model"),
        (tiny_network, [], "at least one layer to randomise, got none"),
        (Wide, None, "at least one layer to randomise, got none"),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))),
            None,
            "layer '0' is parametrised",
        ),
    ],
)
def test_layers_that_cannot_be_randomised_are_refused_before_any_explanation(
    function, network: Callable[[], nn.Module], layers: list[str] | None, sentence: str
) -> None:
    def never(*_: object) -> torch.Tensor:
        raise AssertionError

    with pytest.raises(ValueError, match=sentence):
        function(never, network(), pictures(1), TARGETS[:1], layers=layers)


@pytest.mark.parametrize(
    ("classes", "count", "sentence"),
    [
        (1, 3, "2 classes or more"),
        (3, 3, r"targets below classes=3, .* got \[1, 3, 0\]"),
        (5, 2, "one generator per image, 3, got 2"),
    ],
)
def test_impossible_classes_are_refused(classes: int, count: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        other_classes(TARGETS, classes, generators=draws(count))


@pytest.mark.parametrize(("metric", "better"), [(RandomisationSimilarity, False), (EfficientMPRT, True)])
def test_classes_are_means_over_all_processes(metric, better: bool) -> None:
    first, second = metric(), metric()
    first.update(torch.tensor([-0.25]))
    second.update(torch.tensor([0.5, 0.5], dtype=torch.float16))
    first.merge_state(second)
    assert float(first.compute()) == 0.25
    assert metric.higher_is_better is better
    with pytest.raises(ValueError, match="NaN"):
        first.update(torch.tensor([torch.nan]))
