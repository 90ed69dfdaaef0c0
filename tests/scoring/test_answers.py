"""What a classifier says of whole images, and the columns that are made of it."""

import pytest
import torch
from torch import nn

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.scoring.answers import WholeAnswer, ask_whole
from inr_xai.types import Preprocessing

FRAME = Preprocessing((1, 7), (1, 7), "bilinear", (0.0,), (1.0,))


def answers(head: str, *rows: list[float]) -> list[WholeAnswer]:
    """The answers of a classifier whose outputs are the rows, asked of two images at once."""
    classifier = FrozenClassifier(nn.Flatten(), preprocessing=FRAME, head=head)
    return ask_whole(classifier, torch.tensor(rows)[:, None, None], at_once=2)


def test_the_most_likely_classes_come_first() -> None:
    rows = [
        [0.0, 3.0, 1.0, 2.0, -1.0, -2.0, 4.0],
        [5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 9.0, 1.0, 2.0, 3.0],
    ]
    for image, row in zip(answers("softmax", *rows), rows, strict=True):
        p = torch.tensor(row).double().softmax(0)
        assert image.classes[0] == int(p.argmax())
        assert image.probabilities == pytest.approx([float(p[index]) for index in image.classes], abs=1e-6)
        assert list(image.probabilities) == sorted(image.probabilities, reverse=True)
        assert len(image.classes) == 5
    sigmoid = answers("sigmoid", rows[0])[0]
    assert sigmoid.classes[:2] == (6, 1)
    assert sigmoid.probabilities[0] == pytest.approx(float(torch.sigmoid(torch.tensor(4.0))))


def test_what_has_no_classes_or_no_finite_logits_has_no_answer() -> None:
    assert answers("none", [1.0] * 7) == [WholeAnswer()]
    assert answers("softmax", [float("nan")] + [0.0] * 6, [1.0] + [0.0] * 6)[0] == WholeAnswer()


def test_columns_of_a_row() -> None:
    answer = WholeAnswer((2, 0), (0.75, 0.125))
    assert answer.columns(0, 2, ["cat", "dog"]) == {
        "target_name": "cat",
        "predicted": 2,
        "predicted_name": None,
        "p_predicted": 0.75,
        "right": 1,
    }
    assert answer.columns(0, 0, None)["right"] == 0
    assert answer.columns(0, None, None)["right"] is None
    assert set(WholeAnswer().columns(1, 1, ["cat", "dog"]).values()) == {"dog", None}
    assert answer.pairs() == [[2, 0.75], [0, 0.125]]
