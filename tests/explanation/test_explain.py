"""`explain`: any form of an image gives the same masks, as the command line does, and a mistake is one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models, transforms

import inr_xai
from inr_xai import Explanation, explain
from inr_xai.classifier import demo
from inr_xai.classifier.options import IMAGENET_MEAN, IMAGENET_STD
from inr_xai.data import Synthetic
from inr_xai.data.labels import imagenet_names
from inr_xai.errors import UserError
from inr_xai.explanation.model import GivenModel
from tests.helpers.planted import SQUARE, Normalised, folder, square
from tests.helpers.program import status
from tests.helpers.runs import messages

TRANSFORM = transforms.Compose(
    [transforms.Resize((24, 24)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
)
AREA = SQUARE**2 / 24**2
SHORT: dict[str, Any] = {"areas": (AREA, 0.2), "explanations": 1, "steps": 3, "transform": TRANSFORM}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of one, two and three red squares."""
    return folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def explained(photos: Path) -> Explanation:
    """The image with two squares, explained twice."""
    options = SHORT | {"explanations": 2, "steps": 60, "areas": (AREA,)}
    result = explain(Normalised(), photos / "b-two.png", classes=["grey", "red"], **options)
    assert isinstance(result, Explanation)
    return result


@pytest.mark.slow
def test_each_square_is_an_explanation(explained: Explanation) -> None:
    """The hard masks are the two squares, for most pixels; either alone keeps the class, and chance does not."""
    assert (explained.name, explained.target, explained.target_name) == ("b-two", 1, "red")
    hard = explained.masks[:, 0] > 0.5
    squares = torch.stack([square(2, 2)[0], square(14, 14)[0]]) > 0
    shared = (hard[:, None] & squares[None]).sum((-2, -1)) / SQUARE**2
    assert shared.amax(1).min() > 0.8
    assert sorted(shared.argmax(1).tolist()) == [0, 1]
    assert explained.kept.shape == explained.removed.shape == explained.chance.shape == (2, 1)
    assert explained.kept.min() > 0.8 * explained.whole
    assert explained.removed.min() > 0.8 * explained.whole  # the other square is enough
    assert explained.chance.max() < 0.2
    assert explained.carries == [True, True]
    assert [(index, name) for index, name, _ in explained.top] == [(1, "red"), (0, "grey")]
    assert explained.top[0][2] == pytest.approx(explained.whole)
    assert repr(explained).startswith("Explanation('b-two': 'red' p = 1.00, predicted; 6.25% alone keep ")


@pytest.mark.slow
def test_every_form_of_an_image_gives_the_same_masks(photos: Path) -> None:
    model, file = Normalised(), photos / "a-one.png"
    first = explain(model, file, **SHORT)
    with Image.open(file) as picture:
        array, tensor = np.array(picture), TRANSFORM(picture)
        forms = [str(file), picture.convert("RGBA"), array, tensor, tensor[None].double()]
        for form in forms:
            other = explain(model, form, names=["a-one"], **SHORT)
            assert torch.equal(other.masks, first.masks), type(form)
    del SHORT["transform"]
    try:
        known = explain(model, tensor, names=["a-one"], input_mean=IMAGENET_MEAN, input_std=IMAGENET_STD, **SHORT)
    finally:
        SHORT["transform"] = TRANSFORM
    assert torch.equal(known.masks, first.masks)
    # Without a name the draws derive from the content, so the masks are others.
    assert not torch.equal(explain(model, array, **SHORT).masks, first.masks)


@pytest.mark.usefixtures("command_line")
@pytest.mark.slow
def test_the_command_line_draws_the_same_masks(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["classifier=custom", "classifier.model._target_=tests.helpers.planted.Normalised", "allow_targets=[tests]"]
    size = ["classifier.input_size=24", "classifier.resize=[24,24]", "areas=[0.0625,0.2]", "explanations=1", "steps=3"]
    arguments = [str(photos / "a-one.png"), "--classifier", "demo", "--out", str(tmp_path / "run"), *own, *size]
    assert status("explain", *arguments) == 0
    assert str(tmp_path / "run" / "figures" / "a-one.png") in capsys.readouterr().out
    stored = inr_xai.load(tmp_path / "run")["a-one"]
    ours = explain(Normalised(), photos / "a-one.png", **SHORT)
    assert torch.equal(stored.masks, ours.masks)
    for mine, theirs in zip(ours.rows, stored.rows, strict=True):
        assert mine == theirs


def test_a_list_costs_no_image_its_neighbour(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Normalised()
    alone = explain(model, photos / "c-three.png", **SHORT)
    several = explain(model, [photos / "a-one.png", photos / "absent.png", photos / "c-three.png"], **SHORT)
    assert [None if one is None else one.name for one in several] == ["a-one", None, "c-three"]
    assert torch.equal(several[2].masks, alone.masks)
    assert messages(caplog.records) == [
        f"image 1 of 3 is not explained: image='{photos / 'absent.png'}' does not exist; give a path, a PIL image, an "
        "array h x w x 3 of 8 bits, or a preprocessed tensor c x h x w"
    ]
    with pytest.raises(UserError, match=r"none of 2 images could be explained; image 0: image=.*does not exist"):
        explain(model, [photos / "absent.png"] * 2, **SHORT)


@pytest.mark.slow
def test_classes_by_name_and_by_index(photos: Path) -> None:
    model, options = Normalised(), SHORT | {"classes": ["grey", "red"], "steps": 1}
    file = photos / "a-one.png"
    assert [one.target for one in explain(model, [file] * 3, target=["grey", None, 1], **options)] == [0, 1, 1]
    grey = explain(model, file, target="Grey", **options)
    assert "'grey' p = 0.00, predicted 'red'" in repr(grey)
    assert explain(model, file, target=np.int64(0), **options).target == 0
    with pytest.raises(UserError, match="target='rd' is the name of no class; did you mean red"):
        explain(model, file, target="rd", **options)
    with pytest.raises(UserError, match="class 2 does not exist"):
        explain(model, file, target=2, **options)
    for wrong in (0.5, True, [0, 1], ["red", 1.0]):
        with pytest.raises(UserError, match="target must be a class index or a name, or one for each of the 1 images"):
            explain(model, file, target=wrong, **options)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "absent.jpg"}, "image='absent.jpg' does not exist"),
        ({"image": "."}, "image='.' is a folder"),
        ({"image": 3}, "image is a int; give a path"),
        ({"image": []}, "image is empty"),
        ({"image": np.zeros((4, 4, 3))}, r"image is an array of \(4, 4, 3\) and float64; give one of 8 bits"),
        ({"image": torch.zeros(5, 24, 24)}, "1 or 3 channels"),
        ({"image": torch.full((3, 24, 24), torch.nan)}, "NaN or infinite"),
        ({"image": torch.full((3, 24, 24), 2.0), "transform": None}, "give input_mean= and input_std="),
        ({"image": torch.zeros(3, 24, 24), "transform": None, "input_std": -1}, "input_std=-1 must be one number"),
        ({"transform": None}, "the evaluation transform of this Normalised is not known"),
        ({"model": "resnet50"}, "model is a str; give a module"),
        ({"classes": ["red"]}, "classes has 1 names and the model 2 classes"),
        ({"classes": "absent.txt"}, "classes='absent.txt' cannot be read"),
        ({"head": "softmx"}, "head='softmx' is not allowed"),
        ({"preset": "slow"}, "preset='slow' is none of"),
        ({"step": 3}, "step=3 is not an option of the method; did you mean steps"),
        ({"areas": (0.1, 1.2)}, "areas"),
        ({"names": "photo"}, "names must hold one name for each of the 1 images"),
        ({"photos": [torch.zeros(3, 24, 24)]}, "photos must be 6 or more images"),
    ],
)
def test_mistakes_are_one_sentence(photos: Path, changes: dict[str, Any], words: str) -> None:
    arguments = {"model": Normalised(), "image": photos / "a-one.png"} | SHORT | changes
    with pytest.raises(UserError, match=words) as caught:
        explain(**arguments)
    assert "\n" not in str(caught.value)


def test_real_photos_take_the_place_of_drawn_ones(photos: Path) -> None:
    others = [torch.full((3, 24, 24), level / 8) for level in range(8)]
    options = {**SHORT, "names": ["a-one"], "steps": 12}
    with_photos = explain(Normalised(), photos / "a-one.png", photos=others, **options)
    assert not torch.equal(with_photos.masks, explain(Normalised(), photos / "a-one.png", **options).masks)


@pytest.mark.slow
def test_a_classifier_of_the_package_takes_images_in_0_to_1_and_names_of_the_caller() -> None:
    classifier, data = demo(), Synthetic(size=1)
    image = data.load(data.ids[0], classifier.preprocessing).image
    options: dict[str, Any] = {"areas": (0.1,), "explanations": 1, "steps": 1}
    one = explain(classifier, image, "disc on checks", **options)
    assert one.image is not None
    assert torch.equal(one.image, image)
    assert one.whole == pytest.approx(float(classifier(image[None]).detach().softmax(1)[0, 0]), abs=1e-5)
    assert one.target_name == "disc on checks"
    named = explain(classifier, image, classes=[f"kind {index}" for index in range(8)], **options)
    assert named.target_name == "kind 0"
    assert classifier.class_names == data.class_names
    with pytest.raises(UserError, match=r"or a tensor with values in \[0, 1\]"):
        explain(classifier, torch.tensor([-2.0, 0.0, 2.0])[:, None, None].expand(3, 96, 96), **options)


def test_the_model_comes_back_unchanged(photos: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain(model, photos / "a-one.png", **SHORT)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_score_of_no_class(photos: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 1))
    one = explain(model, photos / "a-one.png", head="none", **SHORT)
    assert (one.target, one.predicted, one.top) == (0, None, [])
    assert "predicted" not in repr(one)


def test_a_score_of_ones_own(photos: Path) -> None:
    """The model returns a map of redness, of which the right half is explained: the square on the right is found."""

    def redness(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, std = (inputs.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        images = inputs * std + mean
        return {"map": images[:, 0] - images[:, 1:].sum(1)}

    options = {**SHORT, "areas": (AREA,), "steps": 40}
    one = explain(redness, photos / "b-two.png", score=lambda output: output["map"][:, :, 12:].sum((1, 2)), **options)
    shared = ((one.masks[0, 0] > 0.5) & (square(14, 14)[0] > 0)).sum() / SQUARE**2
    assert shared > 0.8
    assert one.predicted is None
    with pytest.raises(UserError, match="leave them out beside a score of your own"):
        explain(redness, photos / "b-two.png", target=1, score=lambda output: output["map"].sum((1, 2)), **options)


def test_what_is_known_of_libraries_models() -> None:
    network = models.squeezenet1_1(weights=None)
    known = GivenModel(nn.DataParallel(network), head="softmax")
    theirs = models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    assert known.transform is not None
    assert (known.transform.size, known.transform.resize) == ((224, 224), theirs.resize_size[0])
    assert known.transform.mean == tuple(theirs.mean)
    assert known.class_names == imagenet_names()
    assert GivenModel(models.squeezenet1_1(num_classes=7), head="softmax").class_names is None
    assert GivenModel(nn.Flatten(), head="softmax").transform is None
