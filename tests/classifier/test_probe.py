"""What is refused before any fit, each with its sentence, what is only doubted, and that nothing is left changed."""

import copy
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inr_xai import INRAttribution
from inr_xai.audit.__main__ import main as audit_main
from inr_xai.classifier import FrozenClassifier, custom
from inr_xai.classifier.probe import ONE_OUTPUT_OF_TWO, bounds, doubts, examine, examine_alone, made_up
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.evaluate.__main__ import main as evaluate_main
from inr_xai.types import Preprocessing
from tests.conftest import SIDE, pictures, tiny_network
from tests.helpers.runs import TINY, explain, messages, table

INPUT = Preprocessing((SIDE, SIDE), SIDE, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
NONE = torch.zeros(0, 3, SIDE, SIDE)


def classifier(model: Callable[[Tensor], Any], head: str = "softmax", **options: Any) -> FrozenClassifier:
    return FrozenClassifier(model, preprocessing=INPUT, head=head, **options)


class Then(nn.Module):
    """The tiny network with something after it."""

    def __init__(self, after: Callable[[Tensor], Any], classes: int = 5) -> None:
        super().__init__()
        self.network, self.after = tiny_network(classes), after

    def forward(self, images: Tensor) -> Any:
        return self.after(self.network(images))


class Before(nn.Module):
    """The tiny network with something before it."""

    def __init__(self, before: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network, self.before = tiny_network(), before

    def forward(self, images: Tensor) -> Any:
        return self.network(self.before(images))


class WithoutGradient(nn.Module):
    def __init__(self, context: Callable[[], Any]) -> None:
        super().__init__()
        self.network, self.context = tiny_network(), context

    def forward(self, images: Tensor) -> Tensor:
        with self.context():
            return self.network(images)


class Quantised(nn.Module):
    """A network whose input passes through 8 bits, as that of a statically quantised model does."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(torch.quantize_per_tensor(images, 0.1, 128, torch.quint8).dequantize())


def test_made_up_inputs_are_different_and_among_them_are_noise_grey_black_and_white() -> None:
    inputs = made_up(NONE, classifier(tiny_network()))
    assert inputs.shape == (10, 3, SIDE, SIDE)
    assert len(inputs.flatten(1).unique(dim=0)) == 10
    plain = [float(image.unique()) for image in inputs if image.unique().numel() == 1]
    assert plain == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert all(0 <= float(image.amin()) < float(image.amax()) <= 1 for image in inputs[5:])
    own = classifier(tiny_network(), normalise=False, input_mean=(1.0, 2.0, 3.0), input_std=(1.0, 1.0, 1.0))
    assert made_up(2 + 3 * pictures(2), own).aminmax() == (2 + 3 * pictures(2)).aminmax()  # in the range of the images
    low, high = made_up(torch.full((1, 3, 8, 8), 7.0), own).aminmax()  # two deviations around the mean
    assert (float(low), float(high)) == (-1.0, 5.0)


def test_a_good_classifier_is_asked_once_for_images_and_made_up_inputs() -> None:
    network, sizes = tiny_network().eval(), []
    model = classifier(lambda images: (sizes.append(len(images)), network(images))[1])
    answers = examine(model, pictures(9), at_once=7)
    assert sizes == [7, 7, 4]
    expected = network((pictures(9)[:8] - 0.5) / 0.25).detach()
    torch.testing.assert_close(answers.outputs[:8], expected)
    assert torch.equal(answers.logits, answers.outputs)
    assert model.num_classes == 5


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("after", [nn.Softmax(1), nn.Sigmoid()])
def test_probabilities_taken_for_logits_are_refused(after: nn.Module, head: str) -> None:
    with pytest.raises(UserError, match="are probabilities already: for 10 different inputs all lie in") as caught:
        examine_alone(classifier(Then(after), head), torch.device("cpu"))
    assert ("each row sums to 1" in str(caught.value)) == isinstance(after, nn.Softmax)
    assert "classifier.head=probabilities" in str(caught.value)
    examine_alone(classifier(Then(after), "probabilities"), torch.device("cpu"))
    examine_alone(classifier(Then(after), "none"), torch.device("cpu"))


def test_a_thousand_probabilities_are_seen_although_they_are_tiny() -> None:
    with pytest.raises(UserError, match="each row sums to 1"):
        examine_alone(classifier(Then(nn.Softmax(1), 1000)), torch.device("cpu"))


@pytest.mark.parametrize("after", [nn.LogSoftmax(1), lambda logits: logits / 1000, lambda logits: logits.relu()])
def test_logarithms_of_probabilities_small_logits_and_logits_without_negative_ones_are_logits(after: Any) -> None:
    answers = examine(classifier(Then(after)), NONE)
    assert torch.equal(answers.logits, answers.outputs)


def test_small_positive_logits_are_told_from_probabilities_far_from_all_images() -> None:
    model = Then(lambda logits: 0.5 + logits / 40, 1)
    assert bounds(examine(classifier(model, "none"), NONE).outputs)[0] > 0
    assert bounds(examine(classifier(model, "none"), NONE).outputs)[1] < 1
    examine_alone(classifier(model, "sigmoid"), torch.device("cpu"))


class WrittenByHand(torch.autograd.Function):
    """A sigmoid that is no operation of PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        p = logits.sigmoid()
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (p,) = ctx.saved_tensors
        return gradient * p * (1 - p)


@pytest.mark.parametrize(
    "after",
    [
        lambda z: z.bfloat16().softmax(1),
        lambda z: (z / 100).sigmoid(),
        lambda z: 1 / (1 + torch.exp(-z / 100)),
        lambda z: torch.cat([z, z], 1).softmax(1)[:, :3],
        lambda z: z.sigmoid().clamp(1e-6, 1 - 1e-6),
        lambda z: z.clamp(0, 1),
        WrittenByHand.apply,
    ],
    ids=["16_bits", "flat", "by_hand", "some_columns", "clamped", "cut", "function"],
)
@pytest.mark.parametrize("context", [torch.enable_grad, torch.inference_mode])
def test_probabilities_are_seen_by_what_made_them_too(after: Any, context: Callable[[], Any]) -> None:
    model = classifier(Then(after), "sigmoid")
    with context(), pytest.raises(UserError, match="are probabilities already"):
        examine_alone(model, torch.device("cpu"))


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("after", [nn.ReLU(), nn.Identity()])
def test_small_logits_of_a_last_layer_behind_a_normalisation_are_none(after: nn.Module, head: str) -> None:
    """The normalisation keeps them small far from all images too."""
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 2))
    with torch.no_grad():
        model[-1].weight.copy_(torch.linspace(-0.05, 0.08, 16).reshape(2, 8))  # type: ignore[operator, union-attr]
        model[-1].bias.fill_(0.5)  # type: ignore[operator, union-attr]
    model.append(after)
    low, high = bounds(examine(classifier(model, "none"), NONE).outputs)
    assert low.amin() > 0
    assert high.amax() < 1
    assert (high - low).amax() > 0.01
    examine_alone(classifier(model, head), torch.device("cpu"))


@pytest.mark.parametrize(
    ("after", "last"),
    [
        (nn.LogSoftmax(1), "log_softmax, .*; set classifier.head=softmax"),
        (nn.LogSigmoid(), "log_sigmoid, .*; leave it out"),
        (lambda z: z.sigmoid().log(), "log_sigmoid"),
    ],
)
def test_logarithms_of_probabilities_are_no_logits_of_a_sigmoid(after: Any, last: str) -> None:
    with pytest.raises(UserError, match=f"logarithms of probabilities already, as those of a {last}"):
        examine_alone(classifier(Then(after), "sigmoid"), torch.device("cpu"))


@pytest.mark.parametrize("after", [lambda z: z - 50, lambda z: -z.relu()])
def test_logits_that_are_never_positive_are_logits_of_a_sigmoid(after: Any) -> None:
    answers = examine(classifier(Then(after), "sigmoid"), NONE)
    assert torch.equal(answers.logits, answers.outputs)
    assert float(answers.logits.amax()) <= 0


def test_what_is_said_to_be_probabilities_must_be() -> None:
    with pytest.raises(UserError, match=r"classifier.head=probabilities, but the outputs .* lie in \[-.*, .*\]"):
        examine_alone(classifier(tiny_network(), "probabilities"), torch.device("cpu"))


@pytest.mark.parametrize(
    "model",
    [
        WithoutGradient(torch.no_grad),
        WithoutGradient(torch.inference_mode),
        Then(Tensor.detach),
        Before(lambda images: torch.from_numpy(images.detach().numpy())),
        Before(lambda images: torch.from_numpy(images.numpy())),  # raises, but not without gradients
        Before(torch.round),
        Quantised(),
        Then(lambda logits: torch.nn.functional.one_hot(logits.argmax(1), 5).float() * 9 - 3),
    ],
    ids=["no_grad", "inference_mode", "detach", "numpy_of_detached", "numpy", "round", "quantised", "argmax"],
)
def test_a_model_without_a_gradient_is_refused_in_one_sentence(model: nn.Module) -> None:
    with pytest.raises(UserError, match="gives no gradient for its input") as caught:
        examine_alone(classifier(model), torch.device("cpu"))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="gives no gradient for its input"):
        INRAttribution(model, steps=1).attribute(pictures(1), target=0)


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, KeyError, ZeroDivisionError])
def test_errors_of_the_model_come_with_its_own_words_and_the_sizes(error: type[Exception]) -> None:
    def picky(images: Tensor) -> Tensor:
        if images.shape[-1] != 96:
            raise error(f"input height {images.shape[-2]} is not 96\n  at layer 0")
        return images.mean((2, 3))

    with pytest.raises(
        UserError, match=rf"fails for inputs of 10 x 3 x 24 x 24 \({error.__name__}: .*is not 96"
    ) as caught:
        examine_alone(classifier(picky), torch.device("cpu"))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"fails for inputs of 11 x 3 x 24 x 24"):
        INRAttribution(picky, steps=1).attribute(pictures(1), target=0)


def test_a_model_that_refuses_made_up_inputs_alone_is_asked_for_images_alone() -> None:
    def picky(images: Tensor) -> Tensor:
        if bool((images.std((1, 2, 3)) == 0).any()):
            raise ValueError("a plain image")
        return images.mean((2, 3))

    answers = examine(classifier(picky), pictures(3))
    assert torch.equal(answers.outputs, ((pictures(3) - 0.5) / 0.25).mean((2, 3)))
    with pytest.raises(UserError, match=r"fails for inputs of 10 x 3 x 24 x 24 \(ValueError: a plain image\)"):
        examine_alone(classifier(picky), torch.device("cpu"))
    with pytest.raises(UserError, match="gives no gradient"):
        examine(classifier(lambda images: picky(images).detach()), pictures(3))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_frozen_module_of_torchscript_is_a_model() -> None:
    network = tiny_network().eval()
    frozen = torch.jit.freeze(torch.jit.script(network))
    answers = examine(classifier(frozen), pictures(2))
    torch.testing.assert_close(answers.outputs, examine(classifier(network), pictures(2)).outputs)


def test_a_model_that_cannot_be_frozen_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match=r"cannot be put into evaluation mode, .* \(ValueError: .*uninitialized"):
        examine_alone(classifier(nn.Sequential(nn.Flatten(), nn.LazyLinear(5))), torch.device("cpu"))


def test_errors_that_only_a_fit_meets_are_sentences_too() -> None:
    network = tiny_network().eval()

    def picky(images: Tensor) -> Tensor:
        if images.amax() > 1:
            raise AssertionError("values above 1")
        return network(images)

    with pytest.raises(UserError, match=r"fails for inputs of 4 x 3 x 24 x 24 \(AssertionError: values above 1\)"):
        INRAttribution(picky, steps=20).attribute(pictures(1), target=0)


def test_one_output_under_a_softmax_is_refused_with_the_heads_that_take_it() -> None:
    with pytest.raises(UserError, match=r"a softmax over one output is 1 for every image; set classifier.head=sigmoid"):
        examine_alone(classifier(tiny_network(1)), torch.device("cpu"))
    for model in (tiny_network(1), Then(lambda z: z[:, 0], 1)):
        with pytest.raises(UserError, match=r"set head='sigmoid'"):
            INRAttribution(model, steps=1).attribute(pictures(1), target=0)


def test_which_class_one_output_is_of_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    explainer = INRAttribution(tiny_network(1), head="sigmoid", steps=1)
    for _ in range(2):
        explainer.attribute(pictures(2), target=0)
    assert messages(caplog.records).count(ONE_OUTPUT_OF_TWO) == 1


def everything(model: nn.Module) -> list[Any]:
    tensors = [*model.parameters(), *model.buffers()]
    flags = [(part.training, len(part._forward_hooks)) for part in model.modules()]
    return flags + [(t.requires_grad, t.data_ptr(), t.is_inference(), t.flatten().tolist()) for t in tensors]


@pytest.mark.parametrize("mode", [True, False])
def test_a_model_built_under_inference_mode_is_refused_before_anything_is_touched(mode: bool) -> None:
    with torch.inference_mode():
        network = tiny_network().train(mode)
    before = everything(network)
    for call in (
        lambda: examine_alone(classifier(network), torch.device("cpu")),
        lambda: INRAttribution(network, steps=1).attribute(pictures(1), target=0),
    ):
        with pytest.raises(UserError, match=r"was built under torch.inference_mode"):
            call()
        assert everything(network) == before
    masks = INRAttribution(copy.deepcopy(network), steps=1).attribute(pictures(1), target=0)
    assert torch.equal(masks, INRAttribution(tiny_network(), steps=1).attribute(pictures(1), target=0))


def test_nothing_is_left_changed_also_by_a_refusal() -> None:
    model = Then(nn.Softmax(1)).train()
    before, state = everything(model), torch.get_rng_state()
    with pytest.raises(UserError):
        examine_alone(classifier(model), torch.device("cpu"))
    noisy = Then(lambda logits: logits + torch.randn(()))
    examine_alone(classifier(noisy), torch.device("cpu"))
    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_classifier_that_does_not_see_the_class_is_doubted() -> None:
    sees = classifier(Then(lambda logits: 10 * logits))
    answers = examine(sees, pictures(8))
    best, worst = answers.logits[:8].argmax(1).tolist(), answers.logits[:8].argmin(1).tolist()
    assert doubts(sees, answers, best) is None
    assert doubts(sees, answers, []) is None
    mean = float(answers.logits[:8].softmax(1)[range(8), worst].mean())
    assert mean < 0.4
    doubt = doubts(sees, answers, worst)
    assert doubt is not None
    assert f"its mean probability over the first 8 images is {mean:.2g}, and chance is 0.2" in doubt
    assert "first image is" in str(doubts(sees, answers, [worst[0], *[None] * 7]))
    with pytest.raises(UserError, match="class 7 does not exist"):
        doubts(sees, answers, [7] * 8)


@pytest.mark.parametrize(("p", "doubted"), [(0.6, True), (0.9, False)])
def test_of_two_classes_a_probability_of_one_is_no_condition(p: float, doubted: bool) -> None:
    """Twice the chance is certainty there; what counts is half of the way from chance to it."""
    two = classifier(lambda images: torch.tensor([[1.0, p / (1 - p)]]).log() + 0.01 * images.mean((2, 3))[:, :2])
    answers = examine(two, pictures(3))
    assert (doubts(two, answers, [1, 1, 1]) is not None) == doubted


@pytest.mark.parametrize(("scale", "doubted"), [(1e-5, True), (1.0, False)])
@pytest.mark.parametrize("images", [1, 3])
def test_nearly_the_same_outputs_for_different_images_are_doubted(images: int, scale: float, doubted: bool) -> None:
    flat = classifier(Then(lambda logits: torch.tensor([9.0, 0, 0, 0, 0]) + scale * logits))
    answers = examine(flat, pictures(images))
    assert ("nearly the same for different images" in str(doubts(flat, answers, [0] * images))) == doubted


def test_a_constant_classifier_is_doubted_and_not_refused() -> None:
    constant = classifier(Then(lambda logits: 0 * logits))
    assert "nearly the same" in str(doubts(constant, examine(constant, pictures(2)), [0, 0]))


def test_scores_are_doubted_in_their_own_unit() -> None:
    tiny = classifier(Then(lambda z: 1e-6 * z, 1), "none")
    assert doubts(tiny, examine(tiny, pictures(3)), [0, 0, 0]) is None
    equal = classifier(Then(lambda z: 1000 + 1e-6 * z.double(), 1), "none")
    assert "nearly the same" in str(doubts(equal, examine(equal, pictures(3)), [0, 0, 0]))


def test_the_api_doubts_once(caplog: pytest.LogCaptureFixture) -> None:
    explainer = INRAttribution(Then(lambda logits: 1e-6 * logits), steps=1)
    for _ in range(2):
        explainer.attribute(pictures(2), target=1)
    assert len([message for message in messages(caplog.records) if "nearly the same" in message]) == 1


def blind() -> nn.Module:
    """Returns a network that gives nearly the same logits for every image."""
    return Then(lambda logits: 1e-6 * logits, 8)


@pytest.mark.slow
def test_a_run_says_at_its_beginning_and_beside_its_table_that_the_classifier_is_blind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outcome = explain(tmp_path, f"classifier.model._target_={__name__}.blind", "explanations=1", "steps=1", base=TINY)
    said = messages(caplog.records)
    places = [place for place, message in enumerate(said) if "nearly the same" in message]
    heading = next(place for place, message in enumerate(said) if "of p_full" in message)
    assert outcome.failures == 0
    assert len(places) == 2
    assert places[0] < heading < places[1]
    assert len(table(tmp_path)) == 6


def scores() -> nn.Module:
    """Returns a network that gives one negative score for each image."""
    return Then(lambda z: -1 - z[:, 0].square(), 1)


@pytest.mark.slow
def test_a_run_of_scores_has_them_in_its_columns_and_no_relative_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"classifier.model._target_={__name__}.scores"
    explain(tmp_path, model, "classifier.head=none", "evaluate=all", "explanations=1", base=TINY)
    rows, data = table(tmp_path), Synthetic(size=3)
    tiny = custom(scores(), input_size=SIDE, resize=SIDE, head="none")
    images = torch.stack([data.load(name, tiny.preprocessing).image for name in data.ids])
    with torch.no_grad(), tiny.frozen():
        expected = tiny(images)[:, 0].tolist()
    assert [float(row["p_full"]) for row in rows[::2]] == pytest.approx(expected, rel=1e-5)
    assert {row["target"] for row in rows} == {"0"}
    assert all(float(row["preservation_hard_mean"]) <= -1 for row in rows)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert math.isnan(summary["preservation_hard_mean_rel/k1"])
    assert summary["p_full/k1"] == pytest.approx(sum(expected) / 3, rel=1e-5)
    measured = table(tmp_path / "evaluation", "masks.csv")
    assert {row["failed"] for row in measured} == {""}
    assert {"road", "insertion_auc", "pointing_game", "iou/a0.1"} <= measured[0].keys()
    assert not any(name.startswith("average") for name in measured[0])
    for refused, arguments in (("average_gain", ["--metrics", "road,average_gain"]), ("an audit", [])):
        verb = evaluate_main if arguments else audit_main
        assert verb([str(tmp_path), *arguments]) == 2
        assert f"{refused} needs probabilities of classes" in capsys.readouterr().err
