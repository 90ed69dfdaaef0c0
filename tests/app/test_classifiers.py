"""The classifiers of the page: each is built once and stays frozen; classes are chosen by a name or an index."""

import threading

import pytest
import torch
from torch import nn

from inr_xai.app.classifiers import Classifiers, chosen_class, class_choices, embedded, most_likely
from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from tests.app.conftest import NAMES, named
from tests.conftest import pictures, tiny_classifier, tiny_network


def test_each_is_built_once_also_by_several_threads_and_given_back_at_the_end() -> None:
    built: list[FrozenClassifier] = []
    release = threading.Event()

    def build() -> FrozenClassifier:
        release.wait(5)
        built.append(named())
        built[-1].model.train()
        return built[-1]

    classifiers = Classifiers({"a": build, "b": build})
    threads = [threading.Thread(target=classifiers.__getitem__, args=("a",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert classifiers["a"] is built[0]
    assert classifiers["b"] is built[1]
    model = built[0].model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    classifiers.close()
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_one_that_cannot_be_built_is_tried_again_and_an_unknown_one_is_refused() -> None:
    attempts: list[int] = []

    def build() -> FrozenClassifier:
        attempts.append(0)
        raise UserError("no weights")

    classifiers = Classifiers({"a": build})
    for _ in range(2):
        with pytest.raises(UserError, match="no weights"):
            classifiers["a"]
    assert len(attempts) == 2
    with pytest.raises(UserError, match="no classifier 'b' here; choose one of a"):
        classifiers["b"]


def test_the_most_likely_classes_are_those_of_the_softmax() -> None:
    classifier, image = named(), pictures(1)[0]
    with torch.no_grad(), classifier.frozen():
        likely = most_likely(classifier, image)
        p = classifier(image[None]).softmax(1)[0]
    assert [(index, name) for index, name, _ in likely] == [(i, NAMES[i]) for i in p.argsort(descending=True).tolist()]
    assert [value for _, _, value in likely] == pytest.approx(sorted(p.tolist(), reverse=True))
    classifier.head = "none"
    assert most_likely(classifier, image) == []


def test_a_classifier_is_not_frozen_once_more_beside_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing, image = tiny_classifier().preprocessing, pictures(1)[0]
    bare, double = (
        FrozenClassifier(model, preprocessing=preprocessing) for model in (nn.Flatten(), tiny_network().double())
    )
    classifiers = Classifiers({"without parameters": lambda: bare, "double": lambda: double})
    for name in classifiers.names:
        classifier = classifiers[name]
        monkeypatch.setattr(classifier, "frozen", lambda *arguments: pytest.fail("it is frozen again"))
        assert len(most_likely(classifier, image)) == 5
    classifiers.close()


def test_a_list_of_classes_has_the_likely_ones_first_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    likely = [(3, "dog", 0.7), (1, "bee, wasp", 0.2)]
    first = [("dog, p = 0.70", "3"), ("bee, wasp, p = 0.20", "1")]
    assert class_choices(named(), likely) == [*first, ("ant", "0"), ("cat", "2"), ("eel", "4")]
    monkeypatch.setattr("inr_xai.app.classifiers.MOST_NAMES", 4)
    assert class_choices(named(), likely) == first


@pytest.mark.parametrize(("text", "index"), [("", None), (None, None), (" 4 ", 4), ("WASP", 1), ("bee, wasp", 1)])
def test_classes(text: str | None, index: int | None) -> None:
    assert chosen_class(text, named()) == index


@pytest.mark.parametrize(
    ("text", "message"), [("5", "class 5 does not exist: .* 5 classes"), ("wisp", "^class 'wisp' .*did you mean wasp")]
)
def test_a_class_that_is_none(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen_class(text, named())


def test_the_embedded_ones_know_their_classes() -> None:
    builds = embedded()
    assert len(builds) == 8
    for name in ("demo", "shapes_in_context: context_only"):
        assert len(builds[name]().class_names or []) == 8
