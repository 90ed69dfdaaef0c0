"""The classifiers that the page offers: the one given at the start, and those that come with the package."""

import contextlib
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch

from inr_xai.classifier.class_names import class_index
from inr_xai.classifier.context import shapes_in_context
from inr_xai.classifier.frozen import FrozenClassifier, owner, require_class
from inr_xai.classifier.sources import demo
from inr_xai.data.labels import class_label
from inr_xai.data.scenes.shapes_in_context import SETTINGS
from inr_xai.errors import UserError
from inr_xai.scoring.answers import ask_frozen
from inr_xai.types import Image

Build = Callable[[], FrozenClassifier]
MOST_NAMES = 2000
"""The most classes that a list in the page offers; of more, it offers the most likely ones, and takes any name."""


def embedded() -> dict[str, Build]:
    """Returns what builds each classifier that comes with the package, by its name.

    >>> list(embedded())[:2]
    ['demo', 'shapes_in_context: object_only']
    """
    context = {f"shapes_in_context: {name}": lambda name=name: shapes_in_context(name) for name in SETTINGS}
    return {"demo": demo} | context


class Classifiers:
    """Classifiers by their names, each built when it is first asked for, and once.

    They stay frozen until `close`: one thread may ask a classifier for the classes of a photo while another one fits
    masks of it.

    Args:
        builds: what builds each of them.
        device: where they compute.
    """

    def __init__(self, builds: Mapping[str, Build], device: torch.device | str = "cpu"):
        self._builds, self._device = dict(builds), torch.device(device)
        self._built: dict[str, FrozenClassifier] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._open = contextlib.ExitStack()

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they are offered."""
        return list(self._builds)

    def __getitem__(self, name: str) -> FrozenClassifier:
        """Returns a classifier. Raises UserError if there is none of this name, or it cannot be built."""
        if name not in self._builds:
            raise UserError(f"there is no classifier {name!r} here; choose one of {', '.join(self._builds)}")
        with self._locks[name]:
            if name not in self._built:
                self._built[name] = self._open.enter_context(self._builds[name]().frozen(self._device, torch.float32))
            return self._built[name]

    def close(self) -> None:
        """Gives the models back as they were built."""
        self._open.close()


def most_likely(classifier: FrozenClassifier, image: Image) -> list[tuple[int, str, float]]:
    """Returns the most likely classes of an image with values in [0, 1], at most five: index, name and probability.

    They are none if the model gives scores of no classes. The classifier is one of `Classifiers`, frozen: to freeze it
    once more would exchange tensors of the model, which another thread may be using for a fit.
    """
    module = owner(classifier.model)
    tensors = iter(()) if module is None else itertools.chain(module.parameters(), module.buffers())
    first = next(tensors, image)
    (answer,) = ask_frozen(classifier, image[None].to(first.device))
    return [
        (index, class_label(classifier.class_names, index), p)
        for index, p in zip(answer.classes, answer.probabilities, strict=True)
    ]


def class_choices(classifier: FrozenClassifier, likely: list[tuple[int, str, float]]) -> list[tuple[str, str]]:
    """Returns what a list of classes shows, and the value of each entry: the most likely ones first, then the others.

    >>> from inr_xai.classifier.sources import demo
    >>> class_choices(demo(), [(1, "square on dots", 0.9)])[:2]
    [('square on dots, p = 0.90', '1'), ('disc on checks', '0')]
    """
    names = classifier.class_names or []
    first = [(f"{name}, p = {p:.2f}", str(index)) for index, name, p in likely]
    known = {index for index, _, _ in likely}
    others = [(name, str(index)) for index, name in enumerate(names) if index not in known]
    return first + (others if len(names) <= MOST_NAMES else [])


def chosen_class(text: str | None, classifier: FrozenClassifier) -> int | None:
    """Returns the index of the class that is chosen or typed: an index, a name, or nothing for the predicted class.

    Raises UserError if there is no such class.
    """
    wanted = (text or "").strip()
    if not wanted:
        return None
    if wanted.isdecimal():
        require_class(int(wanted), classifier.count_classes())
        return int(wanted)
    try:
        return class_index(wanted, classifier.class_names)
    except UserError as error:
        raise UserError(str(error).replace("target=", "class ", 1)) from error
