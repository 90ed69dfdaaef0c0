"""Our importance map as a method of captum: its own tools give on it what loops by hand give."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inr_xai import INRAttribution, Plateau
from inr_xai.classifier.start import NoStart
from inr_xai.errors import UserError
from inr_xai.objective import Logit
from inr_xai.perturbation import Constant, GivenImage
from tests.conftest import pictures, tiny_network
from tests.helpers.planted import planted

pytest.importorskip("captum")

from captum.attr import NoiseTunnel, PerturbationAttribution, visualization
from captum.metrics import infidelity, sensitivity_max

from inr_xai.integrations import SHARED_ID
from inr_xai.integrations.captum import INRImportance

STEPS = {"steps": 2}
AREA = {"areas": (0.2,)}


def method(**options: Any) -> INRImportance:
    return INRImportance(tiny_network().eval(), **STEPS | options)


def importance(images: Tensor, target: Any, **options: Any) -> Tensor:
    """The map of INRAttribution with the same draws for all images, for each channel."""
    return drawn_alike(INRAttribution(tiny_network(), **STEPS | options), images, target=target, **AREA).repeat(
        1, 3, 1, 1
    )


def drawn_alike(explainer: INRAttribution, images: Tensor, **call: Any) -> Tensor:
    return explainer.importance(images, image_ids=[SHARED_ID] * len(images), **call)


@pytest.mark.slow
def test_the_map_is_that_of_inr_attribution_in_the_shape_of_the_inputs() -> None:
    images = pictures(2)
    maps = method().attribute(images, target=1, **AREA)
    assert torch.equal(maps, importance(images, 1))
    assert maps.is_contiguous()
    (again,) = method().attribute((images.double(),), target=1, **AREA)
    assert again.dtype == torch.float64
    assert torch.equal(INRImportance(INRAttribution(tiny_network(), **STEPS)).attribute(images, target=1, **AREA), maps)


def test_it_is_a_perturbation_method_of_captum() -> None:
    network = tiny_network()
    ours = INRImportance(network, **STEPS)
    assert isinstance(ours, PerturbationAttribution)
    assert ours.forward_func is network
    assert (ours.has_convergence_delta(), ours.multiplies_by_inputs) == (False, True)
    assert ours.get_name() == "INR Importance"


@pytest.mark.slow
@pytest.mark.parametrize("explain", ["captum", "importance"])
def test_sensitivity_max_is_what_a_loop_gives(explain: str) -> None:
    images, samples = pictures(2), 2
    noise = 0.1 * torch.randn(2 * samples, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    ours = method()
    function = ours.attribute if explain == "captum" else ours.explainer.importance
    values = sensitivity_max(
        function, images, lambda x: x + noise, n_perturb_samples=samples, target=torch.tensor([1, 3]), **AREA
    )
    alone = (
        partial(INRAttribution(tiny_network(), **STEPS).importance, **AREA) if explain == "importance" else importance
    )
    expected = []
    for place, target in enumerate((1, 3)):
        clean, ratios = alone(images[place : place + 1], target=target), []
        for sample in range(samples):
            moved = alone(images[place : place + 1] + noise[place * samples + sample], target=target)
            ratios.append(float((moved - clean).norm() / clean.norm()))
        expected.append(max(ratios))
    assert values.tolist() == pytest.approx(expected, rel=1e-5)
    assert min(expected) > 0


@pytest.mark.slow
def test_draws_of_each_changed_image_would_be_measured_instead() -> None:
    images, ours = pictures(2), method(start=NoStart())

    def almost_the_same(inputs: Tensor) -> Tensor:
        return inputs + 1e-4

    call: dict[str, Any] = {"n_perturb_samples": 1, "target": torch.tensor([1, 3]), **AREA}
    alike = sensitivity_max(ours.attribute, images, almost_the_same, **call)
    apart = sensitivity_max(ours.explainer.importance, images, almost_the_same, **call)
    assert alike.max() < 0.1 * apart.min()


def test_images_may_be_named() -> None:
    images = pictures(2)
    named = method().attribute(images, target=1, image_ids=["a", "b"], **AREA)
    expected = INRAttribution(tiny_network(), **STEPS).importance(images, target=1, image_ids=["a", "b"], **AREA)
    assert torch.equal(named, expected.expand_as(images))
    with pytest.raises(UserError, match="image_ids must name each of the 2 images; got 1"):
        method().attribute(images, target=1, image_ids=["a"], **AREA)


def test_infidelity_is_what_a_loop_gives() -> None:
    images, network, samples = pictures(2), tiny_network().eval(), 3
    removed = (torch.rand(2 * samples, 1, 24, 24, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    removed = removed.expand(-1, 3, -1, -1)
    maps = method().attribute(images, target=[1, 3], **AREA)
    values = infidelity(
        network, lambda x: (removed, x * (1 - removed)), images, maps, target=[1, 3], n_perturb_samples=samples
    )
    expected = [0.0, 0.0]
    for place, target in enumerate((1, 3)):
        for sample in range(samples):
            gone = removed[place * samples + sample]
            with torch.no_grad():
                pair = network(torch.stack([images[place], images[place] * (1 - gone)]))[:, target]
            error = float((gone * maps[place]).sum() - (pair[0] - pair[1]))
            expected[place] += error**2 / samples
    assert values.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_noise_tunnel_is_the_mean_over_noisy_images() -> None:
    images = pictures(2)
    torch.manual_seed(4)
    smooth = NoiseTunnel(method()).attribute(
        images, nt_type="smoothgrad", nt_samples=2, stdevs=0.1, target=[1, 3], **AREA
    )
    torch.manual_seed(4)
    noisy = images.repeat_interleave(2, 0) + torch.normal(0, torch.full((4, 3, 24, 24), 0.1))
    each = torch.cat([importance(image[None], target) for image, target in zip(noisy, (1, 1, 3, 3), strict=True)])
    torch.testing.assert_close(smooth, each.unflatten(0, (2, 2)).mean(1), atol=1e-4, rtol=0)


def test_captum_draws_the_map() -> None:
    maps = method().attribute(pictures(1), target=1, **AREA)
    pixels = maps[0].permute(1, 2, 0).numpy()
    _, axis = visualization.visualize_image_attr(pixels, sign="positive", outlier_perc=0, use_pyplot=False)
    drawn = np.asarray(axis.images[0].get_array())
    np.testing.assert_allclose(drawn, pixels[..., 0] / pixels[..., 0].max(), rtol=1e-5)


@pytest.mark.slow
def test_a_class_may_be_given_in_every_form_of_captum() -> None:
    images, ours = pictures(2), method()
    expected = importance(images, 2)
    one = [2, np.int64(2), torch.tensor(2), torch.tensor([2]), (2,)]
    for target in (*one, torch.tensor([2, 2]), [2, 2], [(2,), (2,)]):
        assert torch.equal(ours.attribute(images, target=target, **AREA), expected)


@pytest.mark.slow
def test_each_image_may_have_a_class() -> None:
    images = pictures(2)
    expected, ours = importance(images, [1, 3]), method()
    for target in (torch.tensor([1, 3]), [1, 3], [(1,), (3,)]):
        assert torch.equal(ours.attribute(images, target=target, **AREA), expected)
    assert not torch.equal(expected[1], importance(images, 1)[1])


class Maps(nn.Module):
    """How red and how blue the 3 x 3 pixels around each one are, b x 2 x 24 x 24, times an argument."""

    def forward(self, images: Tensor, factor: Tensor | float = 1.0, *, inverse: bool = False) -> Tensor:
        amounts = images[:, [0, 2]] - images[:, [2, 0]] - images[:, 1:2]
        return nn.functional.avg_pool2d(amounts, 3, stride=1, padding=1) * factor


@pytest.mark.slow
def test_a_tuple_is_the_place_of_a_number_in_outputs_of_several_dimensions() -> None:
    images = torch.stack([planted((2, 2), (14, 14)), planted((2, 2), (14, 14))])
    places = [(0, 5, 5), (0, 17, 17)]
    maps = INRImportance(Maps(), steps=30).attribute(images, target=places, areas=(0.02,))
    for place, (c, y, x) in enumerate(places):
        own = INRAttribution(Maps(), score=lambda o, c=c, y=y, x=x: o[:, c, y, x], steps=30)
        expected = drawn_alike(own, images[place : place + 1], areas=(0.02,))[0].expand(3, -1, -1)
        assert torch.equal(maps[place], expected)
        best = maps[place, 0].flatten().topk(9).indices
        # The nine pixels that the number depends on are 9 / 576 of the image.
        assert int((((best // 24 - y).abs() < 2) & ((best % 24 - x).abs() < 2)).sum()) >= 8
    one = INRImportance(Maps(), steps=30).attribute(images[:1], target=places[1], areas=(0.02,))
    assert torch.equal(one[0], maps[1])


def test_a_model_of_one_number_needs_no_target() -> None:
    network, images = tiny_network(1).eval(), pictures(1)
    expected = drawn_alike(INRAttribution(network, head="none", **STEPS), images, **AREA).expand_as(images)
    for model in (network, lambda x: network(x)[:, 0]):
        maps = INRImportance(model, **STEPS).attribute(images, **AREA)
        # A plain function has no layers for the first step to start from.
        assert torch.equal(maps, expected) == (model is network)
    assert torch.equal(INRImportance(network, head="none", **STEPS).attribute(images, **AREA), expected)


class Moody(nn.Module):
    """The tiny network, whose logits have weights of each image's own, if it is told to use them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network().eval()

    def forward(self, images: Tensor, weights: Tensor, used: bool, offset: Tensor) -> Tensor:
        assert weights.shape == (len(images), 5)
        assert (offset.ndim, used) == (0, True)
        return self.network(images) * weights + offset


def test_further_arguments_go_to_the_copies_of_their_image() -> None:
    images, weights = pictures(2), torch.tensor([[1.0, 1, 1, 1, 1], [1, 5, 0.1, -2, 1]])
    arguments = (weights, True, torch.tensor(0.5))
    maps = INRImportance(Moody(), **STEPS).attribute(images, target=[1, 3], additional_forward_args=arguments, **AREA)
    for place, target in enumerate((1, 3)):
        moody = Moody()
        alone = INRAttribution(lambda x, row=weights[place], moody=moody: moody.network(x) * row + 0.5, **STEPS)
        # The start of a plain function is another one than that of a module's layers; a method of one has them.
        alone.model = Row(moody, weights[place]).forward
        expected = drawn_alike(alone, images[place : place + 1], target=target, **AREA)
        assert torch.equal(maps[place], expected[0].expand(3, -1, -1))


class Row(nn.Module):
    """`Moody` with one row of weights for all copies."""

    def __init__(self, moody: Moody, row: Tensor) -> None:
        super().__init__()
        self.moody, self.row = moody, row

    def forward(self, images: Tensor) -> Tensor:
        return self.moody(images, self.row.expand(len(images), 5), True, torch.tensor(0.5))


def test_arguments_that_all_images_share_are_given_as_they_are() -> None:
    images = pictures(2)
    factor = torch.full((3, 1, 1), 2.0)  # no row for each of the two images
    maps = INRImportance(lambda x, times, power: tiny_network().eval()((x * times) ** power), **STEPS).attribute(
        images, target=1, additional_forward_args=(factor, 1), **AREA
    )
    doubled = INRAttribution(lambda x: tiny_network().eval()(x * 2), **STEPS)
    expected = drawn_alike(doubled, images, target=1, **AREA)
    assert torch.equal(maps, expected.expand_as(images))


@pytest.mark.slow
def test_baselines_replace_the_pixels_that_masks_hide() -> None:
    images, others, ours = pictures(2), pictures(2, seed=5), method()
    black = ours.attribute(images, baselines=0, target=1, **AREA)
    assert torch.equal(black, importance(images, 1, perturbation=Constant(0.0)))
    assert torch.equal(black, ours.attribute(images, baselines=torch.zeros(1, 3, 24, 24), target=1, **AREA))
    assert torch.equal(black, ours.attribute(images, baselines=(torch.zeros(3, 1, 1),), target=1, **AREA))
    each = ours.attribute(images, baselines=others, target=1, **AREA)
    for place in range(2):
        expected = importance(images[place : place + 1], 1, perturbation=GivenImage(others[place]))
        assert torch.equal(each[place], expected[0])
    assert not torch.equal(each, black)


def test_perturbations_per_eval_limits_what_passes_the_model_at_once() -> None:
    network, sizes = tiny_network().eval(), []
    ours = INRImportance(lambda x: (sizes.append(len(x)), network(x))[1], **STEPS)
    maps = ours.attribute(pictures(1), target=1, areas=(0.1, 0.2, 0.3), perturbations_per_eval=2)
    assert max(sizes) == 2
    assert maps.shape == (1, 3, 24, 24)


@pytest.mark.parametrize("options", [{}, {"plateau": Plateau(steps=1)}])
@pytest.mark.slow
def test_progress_counts_the_steps_of_all_images(options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    method(**options).attribute(pictures(2), target=1, show_progress=True, **AREA)
    assert "INR Importance attribution: 100%" in (shown := capsys.readouterr().err)
    assert "4/4" in shown
    method(**options).attribute(pictures(1), target=1, **AREA)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"inputs": (pictures(1), pictures(1))}, "inputs must be one tensor of images, .* got a tuple of 2"),
        ({"inputs": pictures(1)[0]}, r"inputs must be images, b x c x h x w; got a tensor of \(3, 24, 24\)"),
        ({"target": None}, r"target=None is right for a model that returns one number .* a tensor of \(11, 5\)"),
        ({"target": (1, 2, 3)}, r"target=\(1, 2, 3\) is right for .* 4 dimensions; .* \(11, 5\)"),
        ({"target": [(1,), (2,)]}, "target must be a class, .* for each of the 1 images"),
        ({"target": (slice(None), 1)}, "target must be a class, the place of a number"),
        ({"target": ()}, "target must be a class, the place of a number"),
        ({"target": 7}, "class 7 does not exist"),
        ({"target": [0, 1]}, "target must be a class index, or one for each of the 1 images"),
        ({"baselines": torch.zeros(3, 8, 8)}, r"baselines must be .* broadcast to the inputs, \(1, 3, 24, 24\)"),
        ({"baselines": (0, 0)}, "baselines must be .* got an object of the type tuple"),
        ({"baselines": torch.full((1, 3, 24, 24), torch.nan)}, "baselines must be .* one finite tensor"),
        ({"perturbations_per_eval": 0}, "masks_per_forward=0 is out of range"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        method().attribute(**{"inputs": pictures(1), "target": 0} | AREA | call)


def test_a_place_outside_of_the_output_is_refused() -> None:
    with pytest.raises(UserError, match=r"target=\(0, 30, 0\) is outside of .* for an image, \(2, 24, 24\)"):
        INRImportance(Maps(), **STEPS).attribute(pictures(1), target=(0, 30, 0), **AREA)


def test_a_score_of_the_users_own_has_no_target() -> None:
    ours = method(score=lambda output: output[:, 2])
    images = pictures(1)
    assert torch.equal(ours.attribute(images, **AREA), importance(images, 2, score=Logit()))
    for target in (1, (1, 2)):
        with pytest.raises(UserError, match="has no meaning beside a score of your own"):
            ours.attribute(images, target=target, **AREA)


def test_options_and_an_explainer_that_is_ready_do_not_go_together() -> None:
    with pytest.raises(UserError, match="the INRAttribution has its options already; give it steps"):
        INRImportance(INRAttribution(tiny_network()), steps=3)
