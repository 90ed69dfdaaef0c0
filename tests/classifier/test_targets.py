"""Which class of an image is explained: every policy, the draw of a wrong class, and runs that explain it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier, custom
from inr_xai.classifier.targets import TargetRule, wrong_target
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing
from tests.helpers.runs import CLASSES, TINY, explain, masks_of, network, table

IDS = Synthetic(size=6).ids
WRONG = [*TINY, "data.size=6", "data.targets=wrong", "explanations=1", f"classifier.model._target_={__name__}.Sure"]


class Sure(nn.Module):
    """The small random classifier with larger logits, so that most images have several classes of p < 0.001.

    Args:
        unsure: an image of the synthetic set, for whose colours all logits are equal.
    """

    def __init__(self, unsure: str | None = None) -> None:
        super().__init__()
        self.network = network()
        self.unsure = None if unsure is None else colours(unsure)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = 10 * self.network(images)
        if self.unsure is None:
            return logits
        has_colours = (images.mean((2, 3)) - self.unsure).abs().amax(1) < 1e-4
        return logits.where(~has_colours[:, None], torch.zeros(()))


def colours(image: str) -> torch.Tensor:
    """Returns the mean of each channel of an image of the synthetic set, as the network sees it."""
    preprocessing = custom(nn.Identity(), input_size=24, resize=24).preprocessing
    pixels = Synthetic(size=6).load(image, preprocessing).image
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return (pixels.mean((1, 2)) - mean) / std


def one_score(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3))


def test_of_one_score_there_is_nothing_to_choose() -> None:
    preprocessing = Preprocessing((2, 2), 2, "bilinear", (0.0,) * 3, (1.0,) * 3)
    score = FrozenClassifier(one_score, preprocessing=preprocessing, head="none")
    image = torch.rand(3, 2, 2)
    assert [TargetRule(targets).choose(score, image, 3, "a") for targets in ("label", "predicted", 0)] == [0, 0, 0]
    assert TargetRule("label").choose(score, image, None, "a") == 0
    with pytest.raises(UserError, match="class 2 does not exist"):
        TargetRule(2).choose(score, image, None, "a")
    with pytest.raises(
        UserError, match=r"data.targets=wrong needs probabilities of classes, and with classifier.head="
    ):
        TargetRule("wrong").choose(score, image, None, "a")
    with pytest.raises(UserError, match="a class that the image does not show needs probabilities"):
        wrong_target(score, image, 0, None, "a")


def targets_of(out: Path) -> dict[str, int]:
    return {row["sample_id"]: int(row["target"]) for row in table(out)}


IMAGE = torch.zeros(3, 2, 2)
LOGITS = torch.tensor([[9.0, -9.0, -8.0, 5.0, -7.0, -9.0, 2.5]])  # 0 is predicted; 1, 2, 4 and 5 have p < 0.001


def constant(logits: Tensor = LOGITS) -> FrozenClassifier:
    """Returns a classifier with the same logits for every image."""
    preprocessing = Preprocessing((2, 2), 2, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return FrozenClassifier(lambda images: logits.to(images), preprocessing=preprocessing)


def chosen(targets: str | int, label: int | None, image_id: str = "a", *, seed: int = 0) -> int:
    return TargetRule(targets, seed).choose(constant(), IMAGE, label, image_id)


@pytest.mark.parametrize(
    ("targets", "label", "expected"),
    [("label", 3, 3), ("label", 0, 0), ("predicted", 3, 0), ("predicted", None, 0), (6, 3, 6), (0, None, 0)],
)
def test_the_class_of_label_prediction_and_index(targets: str | int, label: int | None, expected: int) -> None:
    assert chosen(targets, label) == expected


@pytest.mark.parametrize(("label", "absent"), [(4, {1, 2, 5}), (None, {1, 2, 4, 5}), (0, {1, 2, 4, 5})])
def test_a_wrong_class_is_absent_and_neither_label_nor_prediction(label: int | None, absent: set[int]) -> None:
    assert {chosen("wrong", label, str(name)) for name in range(60)} == absent


def test_the_draw_of_a_wrong_class_depends_on_seed_and_id_alone() -> None:
    names = [str(name) for name in range(20)]
    classes = [chosen("wrong", None, name) for name in names]
    torch.manual_seed(7)
    torch.rand(3)
    assert [chosen("wrong", None, name) for name in reversed(names)] == classes[::-1]
    brighter = TargetRule("wrong").choose(constant(LOGITS + 1), IMAGE + 0.5, None, "3")
    assert brighter == classes[3]
    assert [chosen("wrong", None, name, seed=1) for name in names] != classes


def test_an_image_without_a_label_is_refused() -> None:
    with pytest.raises(UserError, match=r"^'a' has no label; set data.targets=predicted$"):
        chosen("label", None)


@pytest.mark.parametrize(("targets", "label"), [(7, 0), (-1, 0), ("label", 7)])
def test_a_class_outside_the_classifiers_is_refused(targets: str | int, label: int) -> None:
    outside = label if targets == "label" else targets
    with pytest.raises(UserError, match=rf"class {outside} does not exist: the classifier has 7 classes \(0 to 6\)"):
        chosen(targets, label)


def test_an_image_that_may_show_every_class_has_no_wrong_class() -> None:
    sentence = "^the classifier gives every other class of 'a' a probability of 0.001 or more$"
    with pytest.raises(UserError, match=sentence):
        TargetRule("wrong").choose(constant(torch.zeros(1, 3)), IMAGE, None, "a")
    with pytest.raises(UserError, match=sentence):
        wrong_target(constant(torch.zeros(1, 3)), IMAGE, 0, None, "a")
    only_the_label = torch.tensor([[9.0, 8.0, -9.0]])
    with pytest.raises(UserError, match=sentence):
        TargetRule("wrong").choose(constant(only_the_label), IMAGE, 2, "a")


def test_the_wrong_target_is_drawn_from_the_absent_classes() -> None:
    absent = [1, 2, 5]  # class 6 has p > 0.001, 0 is explained, 4 is the label
    for name in "abcdef":
        position = int(torch.randint(0, 3, (), generator=generator(0, name, "wrong target")))
        assert wrong_target(constant(), IMAGE, 0, 4, name) == absent[position]
    assert {wrong_target(constant(), IMAGE, 0, 4, str(name)) for name in range(40)} == set(absent)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Explains all six images in one batch."""
    out = tmp_path_factory.mktemp("whole")
    assert explain(out, base=WRONG).failures == 0
    return out


@pytest.mark.slow
def test_a_run_explains_classes_that_are_neither_label_nor_predicted(whole: Path) -> None:
    targets, data, classifier = targets_of(whole), Synthetic(size=6), custom(Sure(), input_size=24, resize=24)
    assert list(targets) == IDS
    for name, target in targets.items():
        sample = data.load(name, classifier.preprocessing)
        with torch.no_grad():
            p = classifier(sample.image[None]).softmax(1)[0]
        absent = {index for index in range(CLASSES) if p[index] < 1e-3}
        assert target in absent - {sample.target, int(p.argmax())}
    assert all(float(row["p_full"]) < 1e-3 for row in table(whole))


@pytest.mark.slow
def test_the_wrong_class_of_a_run_does_not_depend_on_the_batch(whole: Path, tmp_path: Path) -> None:
    explain(tmp_path, "data.every=2", "image_batch_size=1", base=WRONG)
    assert targets_of(tmp_path) == {name: targets_of(whole)[name] for name in IDS[::2]}


@pytest.mark.slow
def test_the_wrong_class_of_a_run_depends_on_the_seed(whole: Path, tmp_path: Path) -> None:
    explain(tmp_path, "seed=1", base=WRONG)
    assert targets_of(tmp_path) != targets_of(whole)


@pytest.mark.slow
def test_an_image_without_a_wrong_class_fails_alone(tmp_path: Path) -> None:
    outcome = explain(tmp_path, f"+classifier.model.unsure='{IDS[1]}'", base=WRONG)
    assert outcome.failures == 1
    (failure,) = table(tmp_path, "failures.csv")
    assert failure["image_id"] == IDS[1]
    assert failure["reason"] == (f"the classifier gives every other class of '{IDS[1]}' a probability of 0.001 or more")
    assert sorted(masks_of(tmp_path)) == [name for name in IDS if name != IDS[1]]
