"""Explanations in Quantus' convention: its own metrics call them, and each value is computed by hand as well."""

import copy
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inr_xai import INRAttribution, metrics
from inr_xai.classifier.start import NoStart
from inr_xai.errors import UserError
from inr_xai.integrations import quantus as ours
from inr_xai.integrations.quantus import explain_func
from inr_xai.seeding import sha256
from tests.conftest import pictures, tiny_network
from tests.helpers.metric_inputs import draws

OPTIONS: dict[str, Any] = {"steps": 3, "areas": (0.1, 0.3), "seed": 5, "input_mean": 0.5, "input_std": 0.2}
IMAGES = pictures(3)
TARGETS = np.array([1, 3, 0])


def importance(model: nn.Module, images: Tensor, targets: np.ndarray = TARGETS) -> np.ndarray:
    """The heatmaps of the Python API with one name, and so with one set of random draws, for all images."""
    options = {key: value for key, value in OPTIONS.items() if key != "areas"}
    explainer = INRAttribution(model, **options)
    names = [ours.SHARED_ID] * len(images)
    return explainer.importance(
        images, target=torch.as_tensor(targets), areas=OPTIONS["areas"], image_ids=names
    ).numpy()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return tiny_network().eval()


@pytest.fixture(scope="module")
def maps(network: nn.Module) -> np.ndarray:
    """The heatmaps of the images."""
    return importance(network, IMAGES)


@pytest.mark.slow
def test_it_returns_the_importance_maps_and_leaves_all_else_as_it_was(network: nn.Module, maps: np.ndarray) -> None:
    network = copy.deepcopy(network).train()
    state = torch.random.get_rng_state()
    result = explain_func(model=network, inputs=IMAGES.numpy(), targets=TARGETS, device="cpu", method="ours", **OPTIONS)
    assert type(result) is np.ndarray
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, maps)
    assert network.training
    assert all(value.requires_grad for value in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_the_models_precision_counts_and_not_that_of_the_inputs(network: nn.Module, maps: np.ndarray) -> None:
    np.testing.assert_array_equal(explain_func(network, IMAGES.double().numpy(), TARGETS, **OPTIONS), maps)
    double = copy.deepcopy(network).double()
    result = explain_func(double, IMAGES.numpy(), TARGETS, **OPTIONS)
    np.testing.assert_array_equal(result, importance(double, IMAGES.double()).astype(np.float32))
    assert result.dtype == np.float32
    with torch.no_grad():
        np.testing.assert_array_equal(explain_func(network, IMAGES.numpy(), TARGETS.tolist(), **OPTIONS), maps)


@pytest.mark.slow
def test_an_image_has_the_same_map_alone_in_any_batch_and_at_any_place(network: nn.Module, maps: np.ndarray) -> None:
    order = [2, 0, 1]
    again = explain_func(network, IMAGES[order].numpy(), TARGETS[order], **OPTIONS)
    np.testing.assert_allclose(again, maps[order], rtol=0, atol=1e-5)
    alone = explain_func(network, IMAGES[1:2].numpy(), TARGETS[1:2], **OPTIONS)
    np.testing.assert_allclose(alone, maps[1:2], rtol=0, atol=1e-5)
    named = explain_func(network, IMAGES.numpy(), TARGETS, image_ids=["a", ours.SHARED_ID, "c"], **OPTIONS)
    np.testing.assert_allclose(named[1], maps[1], rtol=0, atol=1e-5)
    assert np.abs(named[0] - maps[0]).max() > 0.01


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stepz": 3}, "stepz=3 is not an option of the method; did you mean steps"),
        ({"xai_lib": "captum"}, "xai_lib='captum' is not an option of the method; the options are areas, "),
        ({"explanations": 2}, "explanations is no option here"),
        ({"head": "sofmax"}, "head='sofmax' is not allowed"),
        ({"inputs": "abc"}, "inputs and targets must be arrays of numbers"),
        ({"inputs": np.zeros((3, 24, 24))}, r"inputs must be one floating-point tensor .* got \(3, 24, 24\)"),
        ({"inputs": np.float64(3)}, r"inputs must be one floating-point tensor .* got \(\)"),
        ({"device": "nowhere"}, "device a device of this machine"),
        ({"targets": np.array([9, 0, 0])}, "class 9 does not exist"),
        ({"targets": "cat"}, "inputs and targets must be arrays of numbers"),
        ({"image_ids": ["a"]}, "image_ids must name each of the 3 images; got 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_bad_input_is_refused_in_one_sentence(network: nn.Module, change: dict[str, Any], sentence: str) -> None:
    call = {"inputs": IMAGES.numpy(), "targets": TARGETS, "steps": 1} | change
    with pytest.raises(UserError, match=sentence) as caught:
        explain_func(network, **call)
    assert "\n" not in str(caught.value)


def test_a_warning_comes_once_whatever_its_numbers(
    network: nn.Module, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_said", set())
    doubtful = copy.deepcopy(network)
    with torch.no_grad():
        doubtful[-1].weight.mul_(0.1)
        for factor in (1.0, 1.5):
            doubtful[-1].weight.mul_(factor)
            explain_func(doubtful, IMAGES.numpy(), TARGETS, steps=1)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([words for words in said if "does not see the class" in words]) == 1


# With Quantus itself, whose import takes seconds


@pytest.fixture(scope="module")
def quantus() -> Any:
    return pytest.importorskip("quantus")


@pytest.fixture
def call(network: nn.Module) -> dict[str, Any]:
    """The arguments of every call of a metric, which then asks for the explanations itself."""
    return {
        "model": network,
        "x_batch": IMAGES.numpy(),
        "y_batch": TARGETS,
        "explain_func": explain_func,
        "explain_func_kwargs": dict(OPTIONS),
        "device": "cpu",
    }


@torch.no_grad()
def probabilities(model: nn.Module, images: Any) -> np.ndarray:
    return model(torch.as_tensor(np.asarray(images), dtype=torch.float32)).softmax(1).numpy()


def flipping_curve(model: nn.Module, image: np.ndarray, target: int, heatmap: np.ndarray, values: int) -> list[float]:
    """The class's probability after each further step, in which the next values become the image's least one, "black".

    Each channel of a pixel is a value of its own, with the pixel's rank; ties are in NumPy's order.
    """
    order = np.argsort(-np.stack([heatmap] * 3).flatten())
    changed, curve = image.copy(), []
    for first in range(0, order.size, values):
        for place in order[first : first + values]:
            changed[np.unravel_index(place, image.shape)] = image.min()
        curve.append(float(probabilities(model, changed[None])[0, target]))
    return curve


@pytest.mark.slow
def test_pixel_flipping_is_the_curve_computed_pixel_by_pixel(
    quantus: Any, network: nn.Module, maps: np.ndarray, call: dict[str, Any]
) -> None:
    metric = quantus.PixelFlipping(features_in_step=144, normalise=False, disable_warnings=True)
    curves = metric(**call)
    assert np.shape(curves) == (3, 12)
    for image in range(3):
        expected = flipping_curve(network, IMAGES[image].numpy(), TARGETS[image], maps[image, 0], 144)
        np.testing.assert_allclose(curves[image], expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_relevance_rank_accuracy_is_the_share_of_the_largest_values(
    quantus: Any, maps: np.ndarray, call: dict[str, Any]
) -> None:
    truth = np.zeros((3, 1, 24, 24), dtype=bool)
    truth[:, :, 5:17, 8:20] = True
    values = quantus.RelevanceRankAccuracy(disable_warnings=True)(**call, s_batch=truth)
    for value, heatmap, mask in zip(values, maps, truth, strict=True):
        ranked = sorted(heatmap.flatten(), reverse=True)
        assert ranked[143] > ranked[144]  # the object has 144 pixels, and no tie goes across
        assert value == pytest.approx(float(mask[heatmap >= ranked[143]].mean()), abs=1e-12)
    measured = metrics.relevance_rank_accuracy(
        torch.from_numpy(maps[:, 0]), torch.from_numpy(truth[:, 0]), generators=draws(3)
    )
    np.testing.assert_allclose(values, measured.numpy(), atol=1e-7)


@pytest.mark.slow
def test_mprt_explains_the_model_that_it_is_given(
    quantus: Any, network: nn.Module, maps: np.ndarray, call: dict[str, Any]
) -> None:
    similarities = quantus.MPRT(skip_layers=True, seed=7, disable_warnings=True)(**call, batch_size=2)
    randomised = copy.deepcopy(network)
    with torch.random.fork_rng():
        for part in reversed([part for part in randomised.modules() if hasattr(part, "reset_parameters")]):
            torch.manual_seed(7 + 1)
            part.reset_parameters()
    others = importance(randomised, IMAGES)
    expected = [
        scipy.stats.spearmanr(first.flatten(), second.flatten())[0] for first, second in zip(maps, others, strict=True)
    ]
    assert similarities["original"] == pytest.approx([1.0] * 3)
    (last,) = (value for key, value in similarities.items() if key != "original")
    assert last == pytest.approx(expected, abs=1e-6)
    assert max(expected) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [3, 2])
def test_max_sensitivity_measures_the_explanation_and_not_its_draws(
    quantus: Any, network: nn.Module, maps: np.ndarray, call: dict[str, Any], batch_size: int
) -> None:
    noise = 0.02 * np.random.default_rng(0).standard_normal((2, 3, 3 * 24 * 24))  # two samples of each image
    places = [(slice(first, first + batch_size), draw) for first in range(0, 3, batch_size) for draw in (0, 1)]
    queue = iter(places)

    def perturbed(arr: np.ndarray, **_: object) -> np.ndarray:
        some, draw = next(queue)
        return arr + noise[draw, some]

    metric = quantus.MaxSensitivity(nr_samples=2, perturb_func=perturbed, disable_warnings=True)
    values = metric(**call, a_batch=maps, batch_size=batch_size)
    changes = []
    for draw in (0, 1):
        changed = (IMAGES.double() + torch.from_numpy(noise[draw].reshape(IMAGES.shape))).float()
        difference = (importance(network, changed) - maps).reshape(3, -1)
        changes.append(np.linalg.norm(difference, axis=1) / np.linalg.norm(maps.reshape(3, -1), axis=1))
    np.testing.assert_allclose(values, np.max(changes, axis=0), rtol=1e-4)


@pytest.mark.slow
def test_draws_of_each_changed_image_would_be_measured_instead(quantus: Any, call: dict[str, Any]) -> None:
    options = OPTIONS | {"start": NoStart()}

    def with_hashes(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        names = [sha256(image.tobytes()).hexdigest() for image in inputs]
        return explain_func(model, inputs, targets, image_ids=names, **options)

    def almost_nothing(arr: np.ndarray, **_: object) -> np.ndarray:
        return arr + 1e-3

    metric = quantus.MaxSensitivity(nr_samples=1, perturb_func=almost_nothing, disable_warnings=True)
    values = metric(**call | {"explain_func_kwargs": options})
    apart = metric(**call | {"explain_func": with_hashes})
    assert max(values) < 0.1 * min(apart)


@pytest.mark.slow
def test_road_of_grey_images_is_the_accuracy_behind_imputed_pixels(quantus: Any, call: dict[str, Any]) -> None:
    # Quantus counts the pixels of each channel as pixels of their own, and its imputation then fails for colours.
    colours = nn.Conv2d(1, 3, 1, bias=False)
    nn.init.ones_(colours.weight)
    grey, images = nn.Sequential(colours, tiny_network()).eval(), IMAGES.mean(1, keepdim=True)
    targets = probabilities(grey, images).argmax(1)
    percentages = [5, 30, 60, 90]
    metric = quantus.ROAD(percentages=percentages, noise=0.0, disable_warnings=True)
    values = metric(**call | {"model": grey, "x_batch": images.numpy(), "y_batch": targets})
    heatmaps = importance(grey, images, targets)
    expected = {}
    for percentage in percentages:
        count = int(24 * 24 * percentage / 100)
        removed = np.zeros((3, 24 * 24), dtype=bool)
        for image, heatmap in enumerate(heatmaps):
            removed[image, np.argsort(-heatmap.flatten())[:count]] = True
        filled = metrics.linear_imputation(images, torch.from_numpy(removed.reshape(3, 24, 24)))
        expected[percentage] = float((probabilities(grey, filled).argmax(1) == targets).mean())
    assert values == pytest.approx(expected)


def grad_cam(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
    """Captum's Grad-CAM of the ReLU, enlarged."""
    from captum.attr import LayerGradCam

    images = torch.as_tensor(inputs).float()
    cam = LayerGradCam(model, model[2]).attribute(images, target=torch.as_tensor(targets), relu_attributions=True)
    return F.interpolate(cam, images.shape[-2:], mode="bilinear").detach().numpy()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU activations")
def test_evaluate_compares_it_with_grad_cam(quantus: Any, network: nn.Module, maps: np.ndarray) -> None:
    pytest.importorskip("captum")
    truth = np.zeros((3, 1, 24, 24), dtype=bool)
    truth[:, :, 5:17, 8:20] = True
    chosen: dict[str, Callable[..., Any]] = {
        "rank": quantus.RelevanceRankAccuracy(disable_warnings=True),
        "sparseness": quantus.Sparseness(disable_warnings=True),
        "flipping": quantus.PixelFlipping(features_in_step=144, normalise=False, disable_warnings=True),
    }
    table = quantus.evaluate(
        metrics=chosen,
        xai_methods={"inr": partial(explain_func, **OPTIONS), "gradcam": grad_cam},
        model=network,
        x_batch=IMAGES.numpy(),
        y_batch=TARGETS,
        s_batch=truth,
        explain_func_kwargs={},
        agg_func=np.mean,
    )
    assert set(table) == {"inr", "gradcam"}
    for name, heatmaps in {"inr": maps[:, 0], "gradcam": grad_cam(network, IMAGES.numpy(), TARGETS)[:, 0]}.items():
        values, objects = torch.from_numpy(heatmaps), torch.from_numpy(truth[:, 0])
        curves = [
            flipping_curve(network, image.numpy(), target, heatmap, 144)
            for image, target, heatmap in zip(IMAGES, TARGETS, heatmaps, strict=True)
        ]
        assert table[name] == {
            "rank": pytest.approx(
                float(metrics.relevance_rank_accuracy(values, objects, generators=draws(3)).mean()), abs=1e-6
            ),
            "sparseness": pytest.approx(float(metrics.sparseness(values.double()).mean()), abs=1e-4),
            "flipping": pytest.approx(float(np.mean(curves)), abs=1e-5),
        }
    assert table["inr"]["rank"] != table["gradcam"]["rank"]
