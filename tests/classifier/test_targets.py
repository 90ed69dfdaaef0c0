"""The class that an image does not show: how it is drawn, and runs that explain it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier, custom
from inr_xai.classifier.targets import wrong_target
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.seeding import generator
from inr_xai.types import Preprocessing
from tests.helpers.runs import CLASSES, TINY, explain, masks_of, network, table

IDS = Synthetic(size=6).ids
WRONG = [*TINY, "data.size=6", "data.targets=wrong", "explanations=1", f"classifier.model._target_={__name__}.Sure"]


class Sure(nn.Module):
    """The small random classifier, surer of itself; `unsure` gives equal logits for images with that image's colours.

    Most images have several classes of p < 0.001 then.
    """

    def __init__(self, unsure: str | None = None) -> None:
        super().__init__()
        self.network = network()
        self.unsure = None if unsure is None else colours(unsure)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = 10 * self.network(images)
        if self.unsure is None:
            return logits
        found = (images.mean((2, 3)) - self.unsure).abs().amax(1) < 1e-4
        return logits.where(~found[:, None], torch.zeros(()))


def classifier(unsure: str | None = None) -> FrozenClassifier:
    """The same as a run has it."""
    return custom(Sure(unsure), input_size=24, resize=24)


def colours(image: str) -> torch.Tensor:
    """The mean of each channel of an image of the synthetic set, as the network sees it."""
    made = custom(nn.Identity(), input_size=24, resize=24)
    pixels = Synthetic(size=6).load(image, made.preprocessing).image
    mean, std = torch.tensor(made.preprocessing.mean), torch.tensor(made.preprocessing.std)
    return (pixels.mean((1, 2)) - mean) / std


def targets_of(out: Path) -> dict[str, int]:
    return {row["sample_id"]: int(row["target"]) for row in table(out)}


def test_the_wrong_target_is_drawn_from_the_absent_classes() -> None:
    preprocessing = Preprocessing((2, 2), 2, "bilinear", (0.0,) * 3, (1.0,) * 3)
    logits = torch.tensor([[9.0, -9.0, -8.0, 5.0, -7.0, -9.0, 2.5]])
    classifier = FrozenClassifier(lambda images: logits, preprocessing=preprocessing)
    image = torch.zeros(3, 2, 2)
    absent = [1, 2, 5]  # class 6 has p > 0.001, 0 is explained, 4 is the label
    for name in "abcdef":
        place = int(torch.randint(0, 3, (), generator=generator(0, name, "wrong target")))
        assert wrong_target(classifier, image, 0, 4, name) == absent[place]
    assert {wrong_target(classifier, image, 0, 4, str(name)) for name in range(40)} == set(absent)


def test_an_image_that_shows_every_class_has_no_wrong_one() -> None:
    preprocessing = Preprocessing((2, 2), 2, "bilinear", (0.0,) * 3, (1.0,) * 3)
    classifier = FrozenClassifier(lambda images: torch.zeros(1, 3), preprocessing=preprocessing)
    with pytest.raises(UserError, match="every other class"):
        wrong_target(classifier, torch.zeros(3, 2, 2), 0, None, "a")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all six images in one batch."""
    out = tmp_path_factory.mktemp("whole")
    assert explain(out, base=WRONG).failures == 0
    return out


def test_a_run_explains_classes_that_are_neither_label_nor_predicted(whole: Path) -> None:
    found, data, made = targets_of(whole), Synthetic(size=6), classifier()
    assert list(found) == IDS
    for name, target in found.items():
        sample = data.load(name, made.preprocessing)
        with torch.no_grad():
            p = made(sample.image[None]).softmax(1)[0]
        absent = {index for index in range(CLASSES) if p[index] < 1e-3}
        assert target in absent - {sample.target, int(p.argmax())}
    assert all(float(row["p_full"]) < 1e-3 for row in table(whole))


def test_the_class_is_the_same_whatever_the_batch(whole: Path, tmp_path: Path) -> None:
    explain(tmp_path, "data.every=2", "image_batch_size=1", base=WRONG)
    assert targets_of(tmp_path) == {name: targets_of(whole)[name] for name in IDS[::2]}


def test_the_class_is_another_for_another_seed(whole: Path, tmp_path: Path) -> None:
    explain(tmp_path, "seed=1", base=WRONG)
    assert targets_of(tmp_path) != targets_of(whole)


def test_an_image_without_such_a_class_fails_alone(tmp_path: Path) -> None:
    outcome = explain(tmp_path, f"+classifier.model.unsure='{IDS[1]}'", base=WRONG)
    assert outcome.failures == 1
    (failure,) = table(tmp_path, "failures.csv")
    assert failure["image_id"] == IDS[1]
    assert failure["reason"] == (f"the classifier gives every other class of '{IDS[1]}' a probability of 0.001 or more")
    assert sorted(masks_of(tmp_path)) == [name for name in IDS if name != IDS[1]]
