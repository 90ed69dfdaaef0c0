"""The wrapper returns the model's logits, and restores the model as it was."""

import contextlib
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier, require_class
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
SMALL = Preprocessing(size=(8, 8), resize=10, interpolation="bilinear", mean=MEAN, std=STD)


def network(classes: int = 5) -> nn.Sequential:
    """Returns a small network with everything that freezing changes: batch norm, dropout, convolutions."""
    torch.manual_seed(3)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
            drop=nn.Dropout(0.5),
            flat=nn.Flatten(),
            fc=nn.Linear(4 * 36, classes),
        )
    )


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def snapshot(model: nn.Module) -> list[tuple[Any, ...]]:
    """Returns everything that must be restored."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [(name, part.training, dict(part._forward_hooks)) for name, part in model.named_modules()] + [
        (name, id(t), t.requires_grad, t.device, t.dtype, t.stride(), t.data_ptr(), t.detach().flatten().tolist())
        for name, t in tensors
    ]


def mixed() -> nn.Sequential:
    """Returns a model in a mixed state: modes, gradient flags and precisions differ between its parts."""
    model = network()
    model.train()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    model.fc.half()
    model.norm.running_mean = model.norm.running_mean.double()
    model.fc.bias.grad = torch.ones_like(model.fc.bias)
    return model


@pytest.mark.parametrize("channels_last", [False, True])
def test_logits_are_those_of_the_model_on_normalised_images(channels_last: bool) -> None:
    model = network().eval()
    classifier = FrozenClassifier(model, preprocessing=SMALL, channels_last=channels_last)
    assert classifier.num_classes is None
    expected = model((images() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])
    with classifier.frozen("cpu", torch.float32):
        assert torch.allclose(classifier(images()), expected, atol=1e-6)
    assert classifier.num_classes == 5


def test_without_normalisation_inputs_reach_the_model_unchanged() -> None:
    model = network().eval()
    classifier = FrozenClassifier(model, preprocessing=SMALL, normalise=False)
    assert torch.equal(classifier(images()), model(images()))
    assert (classifier.colour_mean, classifier.colour_std) == ((0.0,) * 3, (1.0,) * 3)


def test_colour_statistics_are_in_the_units_of_the_input() -> None:
    assert FrozenClassifier(network(), preprocessing=SMALL).colour_mean == MEAN
    assert FrozenClassifier(network(), preprocessing=SMALL).colour_std == STD
    classifier = FrozenClassifier(
        network(), preprocessing=SMALL, normalise=False, input_mean=(0.1, 0.2, 0.3), input_std=(2.0, 3.0, 4.0)
    )
    assert (classifier.colour_mean, classifier.colour_std) == ((0.1, 0.2, 0.3), (2.0, 3.0, 4.0))


def test_probability_is_a_softmax_or_a_sigmoid() -> None:
    logits, targets = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, -1.0]]), torch.tensor([2, 0])
    softmax = FrozenClassifier(network(), preprocessing=SMALL).probability(logits, targets)
    sigmoid = FrozenClassifier(network(), preprocessing=SMALL, head="sigmoid").probability(logits, targets)
    e = torch.tensor(1.0).exp()
    assert torch.allclose(softmax, torch.stack([e**3 / (1 + e + e**3), e**2 / (e**2 + 1 + 1 / e)]))
    assert torch.allclose(sigmoid, torch.stack([1 / (1 + e**-3), 1 / (1 + e**-2)]))
    with pytest.raises(UserError, match=r"'tanh' is not allowed; choose one of softmax, sigmoid, probabilities, none"):
        FrozenClassifier(network(), preprocessing=SMALL, head="tanh")


def head_of(head: str, outputs: Tensor) -> FrozenClassifier:
    """Returns a classifier whose model gives these outputs for its images, of which there are as many."""
    return FrozenClassifier(lambda images: outputs, preprocessing=SMALL, head=head)


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_a_single_logit_is_that_of_class_1_and_its_negative_that_of_class_0(shape: tuple[int, ...]) -> None:
    z = torch.tensor([0.4, -2.0])
    classifier = head_of("sigmoid", z.reshape(shape))
    logits = classifier(images())
    assert torch.equal(logits, torch.stack([-z, z], 1))
    positive, negative = (classifier.probability(logits, torch.full((2,), target)) for target in (1, 0))
    torch.testing.assert_close(positive, 1 / (1 + (-z).exp()))
    torch.testing.assert_close(negative, 1 - positive)
    assert classifier.num_classes == 2


def test_probabilities_become_their_logarithms_which_stay_finite() -> None:
    p = torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]], requires_grad=True)
    classifier = head_of("probabilities", p)
    logits = classifier(images())
    torch.testing.assert_close(logits[0, 1:], torch.tensor([0.25, 0.75]).log())
    assert logits.isfinite().all()
    for target in range(3):
        torch.testing.assert_close(classifier.probability(logits, torch.full((2,), target)), p[:, target])
    logits.sum().backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()
    one = head_of("probabilities", torch.tensor([0.1, 1.0]))
    pair = one(images())
    torch.testing.assert_close(one.probability(pair, torch.tensor([0, 0])), torch.tensor([0.9, 0.0]))
    torch.testing.assert_close(one.probability(pair, torch.tensor([1, 1])), torch.tensor([0.1, 1.0]))


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_scores_stay_what_they_are(shape: tuple[int, ...]) -> None:
    scores = torch.tensor([-3.0, 700.0])
    classifier = head_of("none", scores.reshape(shape))
    assert torch.equal(classifier(images()), scores[:, None])
    assert torch.equal(classifier.probability(classifier(images()), torch.tensor([0, 0])), scores)


def test_a_softmax_over_one_output_is_refused() -> None:
    with pytest.raises(UserError, match=r"classifier.head=sigmoid .*, classifier.head=probabilities .*=none"):
        head_of("softmax", torch.zeros(2, 1))(images())
    with pytest.raises(UserError, match=r"returned \(2, 0\)"):
        head_of("none", torch.zeros(2, 0))(images())


@pytest.mark.parametrize("normalise", [True, False])
def test_a_model_may_change_its_input_in_place(normalise: bool) -> None:
    model = network().eval()
    classifier = FrozenClassifier(lambda x: model(x.mul_(2)), preprocessing=SMALL, normalise=normalise)
    twice = FrozenClassifier(lambda x: model(x * 2), preprocessing=SMALL, normalise=normalise)
    gradients = []
    for each in (classifier, twice):
        inputs = images().requires_grad_()
        gradients += torch.autograd.grad(each(inputs).square().sum(), inputs)
        assert torch.equal(inputs, images())
    assert torch.equal(*gradients)


def test_a_classifier_is_no_part_of_a_module_that_holds_it() -> None:
    holder = nn.Module()
    holder.classifier = FrozenClassifier(network(), preprocessing=SMALL)  # type: ignore[assignment]
    assert list(holder.state_dict()) == []
    assert list(holder.children()) == []


@pytest.mark.parametrize("channels_last", [False, True])
def test_frozen_freezes_moves_and_restores_mixed_states(channels_last: bool) -> None:
    model = mixed()
    before = snapshot(model)
    classifier = FrozenClassifier(model, preprocessing=SMALL, channels_last=channels_last)
    with classifier.frozen("cpu", torch.float64):
        assert not any(part.training for part in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        floating = [t for t in model.state_dict().values() if t.is_floating_point()]
        assert all(t.dtype == torch.float64 for t in floating)
        assert model.norm.num_batches_tracked.dtype == torch.int64
        inputs = images().double().requires_grad_()
        classifier(inputs)[:, 0].sum().backward()
        assert inputs.grad is not None
        assert inputs.grad.abs().sum() > 0
    assert snapshot(model) == before
    assert model.fc.bias.grad is not None
    assert model.fc.bias.grad.dtype == torch.float16


def test_an_error_restores_the_model_too() -> None:
    model = mixed()
    before = snapshot(model)
    classifier = FrozenClassifier(model, preprocessing=SMALL, channels_last=True)
    with pytest.raises(RuntimeError, match=r"inside"), classifier.frozen("cpu", torch.float64):
        raise RuntimeError("inside")
    assert snapshot(model) == before
    with pytest.raises(RuntimeError), classifier.frozen("no-such-device", torch.float64):
        pass
    assert snapshot(model) == before


def test_frozen_may_be_nested() -> None:
    model = mixed()
    before = snapshot(model)
    classifier = FrozenClassifier(model, preprocessing=SMALL, channels_last=True)
    with classifier.frozen("cpu", torch.float64):
        outer = snapshot(model)
        with contextlib.suppress(ZeroDivisionError), classifier.frozen("cpu", torch.float32):
            assert model.fc.weight.dtype == torch.float32
            raise ZeroDivisionError
        assert snapshot(model) == outer
    assert snapshot(model) == before


class Counting(nn.Module):
    """Writes into a buffer and a flag at each pass, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.tied = nn.Linear(192, 3)
        self.again = self.tied

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.again(x.flatten(1))


def test_buffers_that_the_model_writes_are_restored() -> None:
    model = Counting()
    classifier = FrozenClassifier(model, preprocessing=SMALL)
    with classifier.frozen():
        classifier(images())
        assert model.passes == 1
    assert model.passes == 0
    assert model.again is model.tied


def test_any_callable_is_a_model_and_a_method_freezes_its_module() -> None:
    model = network().train()
    classifier = FrozenClassifier(model.forward, preprocessing=SMALL)
    with classifier.frozen("cpu", torch.float32):
        assert not model.fc.training
    assert model.fc.training
    plain = FrozenClassifier(lambda x: x.mean(dim=(2, 3)), preprocessing=SMALL, normalise=False)
    with plain.frozen("cpu", torch.float32):
        assert torch.equal(plain(images()), images().mean(dim=(2, 3)))


def test_statistics_from_inference_mode_allow_gradients_later() -> None:
    classifier = FrozenClassifier(network().eval(), preprocessing=SMALL)
    with torch.inference_mode():
        classifier(images())
    inputs = images().requires_grad_()
    classifier(inputs).sum().backward()
    assert inputs.grad is not None


class Tokens(nn.Module):
    """Convolution, batch norm, then tokens: the gradient comes back to the batch norm in another memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(x).flatten(2).transpose(1, 2)).sin().flatten(1))


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradient_of_one_image_equals_its_gradient_in_a_batch_and_finite_differences(channels_last: bool) -> None:
    torch.manual_seed(0)
    classifier = FrozenClassifier(Tokens(), preprocessing=SMALL, channels_last=channels_last)
    with classifier.frozen("cpu", torch.float64):
        batch = images().double().requires_grad_()
        (in_batch,) = torch.autograd.grad(classifier(batch)[:, 1].sum(), batch)
        for index in (0, 1):
            image = batch.detach()[index : index + 1].requires_grad_()
            (alone,) = torch.autograd.grad(classifier(image)[:, 1].sum(), image)
            assert torch.allclose(alone[0], in_batch[index], atol=1e-12)
            step = torch.zeros_like(image)
            step[0, 2, 3, 4] = 1e-5
            with torch.no_grad():
                difference = classifier(image + step)[0, 1] - classifier(image - step)[0, 1]
            assert float(difference) / 2e-5 == pytest.approx(float(alone[0, 2, 3, 4]), rel=1e-5)


def test_outputs_of_hugging_face_models_are_accepted() -> None:
    model = network().eval()
    wrapped = FrozenClassifier(lambda x: SimpleNamespace(logits=model(x)), preprocessing=SMALL, normalise=False)
    assert torch.equal(wrapped(images()), model(images()))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: (x,), "returned a tuple, expected a floating tensor of 2 x classes"),
        (lambda x: {"out": x}, "returned a dict"),
        (lambda x: x, r"returned \(2, 3, 8, 8\) of torch.float32"),
        (lambda x: x.flatten(1)[:1], r"returned \(1, 192\)"),
        (lambda x: x.flatten(1).argmax(1, keepdim=True), r"returned \(2, 1\) of torch.int64"),
    ],
)
def test_other_outputs_are_refused(output: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FrozenClassifier(output, preprocessing=SMALL)(images())


@pytest.mark.parametrize("classes", [1, 5])
def test_a_model_that_squeezes_loses_the_batch_of_one_image_alone(classes: int) -> None:
    model = network(classes).eval()
    squeezed = FrozenClassifier(lambda x: model(x).squeeze(), preprocessing=SMALL, normalise=False, head="none")
    assert torch.equal(squeezed(images(1)), model(images(1)))
    assert torch.equal(squeezed(images(2)), model(images(2)))


def test_a_class_outside_the_classifiers_is_named() -> None:
    require_class(9, 10)
    for target in (10, -1):
        with pytest.raises(UserError, match=rf"class {target} does not exist: the classifier has 10 classes"):
            require_class(target, 10)
