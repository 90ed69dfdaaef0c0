"""What `explain` knows of the caller's model: its transform, the names of its classes, its device."""

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inr_xai.classifier.class_names import names_of_timm, names_of_torchvision, read_class_names
from inr_xai.classifier.frozen import FrozenClassifier, owner
from inr_xai.classifier.probe import doubts, examine
from inr_xai.classifier.scored import examine_score, scored
from inr_xai.errors import UserError
from inr_xai.objective import OutputScore
from inr_xai.types import Preprocessing


class GivenModel:
    """The model of the caller.

    Args:
        model: a module, another callable, or a `FrozenClassifier`.
        head: what the outputs are.
        classes: the names of the classes, a file of them, or None for the model's own, where it is known.
        score: a score of the caller's own, which maps what the model returns to a number for each image.

    Raises:
        UserError: the model is no callable, or the names cannot be read.
    """

    def __init__(
        self,
        model: Any,
        *,
        head: str,
        classes: Sequence[str] | str | Path | None = None,
        score: OutputScore | None = None,
    ):
        if not callable(model):
            raise UserError(f"model is a {type(model).__name__}; give a module, or a callable that returns outputs")
        self.model, self.head, self.score = model, head, score
        if isinstance(classes, str | Path):
            classes = read_class_names(classes, "classes")
        self.class_names = self._own_names() if classes is None else [str(name) for name in classes]

    @cached_property
    def inner(self) -> Any:
        """The module within DataParallel and torch.compile."""
        inner = getattr(self.model, "_orig_mod", self.model)
        return inner.module if isinstance(inner, nn.DataParallel) else inner

    @cached_property
    def transform(self) -> Preprocessing | None:
        """The evaluation transform that the model is known to have; None if it is none of the known models."""
        if isinstance(self.model, FrozenClassifier):
            return self.model.preprocessing
        if self._is_of_timm and bool(getattr(self.inner, "num_classes", None)):
            from inr_xai.classifier.timm_models import preprocessing_of

            return preprocessing_of(self.inner, type(self.inner).__name__)
        if self._name_in_torchvision is None:
            return None
        from inr_xai.classifier import torchvision_models

        return torchvision_models.preprocessing_of(self._name_in_torchvision)

    @property
    def takes_images(self) -> bool:
        """Whether the model is known to take images in [0, 1], because it normalises inside."""
        return isinstance(self.model, FrozenClassifier)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        module = owner(self.model.model if isinstance(self.model, FrozenClassifier) else self.model)
        parameter = None if module is None else next(module.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def classifier(self, preprocessing: Preprocessing) -> FrozenClassifier:
        """Returns the model as a frozen classifier of images in [0, 1], as the command line builds it."""
        classifier = self.model
        if isinstance(classifier, FrozenClassifier):
            if self.class_names != classifier.class_names:
                classifier = copy(classifier)
                classifier.class_names = self.class_names
        else:
            classifier = FrozenClassifier(
                self.model,
                preprocessing=preprocessing,
                head=self.head,
                channels_last=self._is_of_timm or self._name_in_torchvision is not None,
                class_names=self.class_names,
            )
        return classifier if self.score is None else scored(classifier, self.score)

    def look(self, classifier: FrozenClassifier, images: Sequence[Tensor], *, at_once: int) -> str | None:
        """Looks at the classifier by some inputs before any fit; returns what is doubtful about it.

        Raises UserError if it cannot be explained, or has not as many classes as there are names.
        """
        inputs = torch.stack(list(images)).to(self.device)
        if self.score is not None:
            examine_score(classifier, inputs, at_once=at_once)
            return None
        answers = examine(classifier, inputs, at_once=at_once)
        if self.class_names is not None and len(self.class_names) != classifier.count_classes():
            raise UserError(
                f"classes has {len(self.class_names)} names and the model {classifier.count_classes()} classes; give "
                "one name for each class, in the order of the outputs"
            )
        return doubts(classifier, answers, [])

    @property
    def _is_of_timm(self) -> bool:
        return isinstance(self.inner, nn.Module) and isinstance(getattr(self.inner, "pretrained_cfg", None), dict)

    @cached_property
    def _name_in_torchvision(self) -> str | None:
        return torchvision_name(self.inner)

    def _own_names(self) -> list[str] | None:
        if isinstance(self.model, FrozenClassifier):
            return self.model.class_names
        if self._is_of_timm:
            return names_of_timm(self.inner)
        if isinstance(getattr(getattr(self.inner, "config", None), "id2label", None), dict):  # Hugging Face's
            from inr_xai.classifier.hugging_face import class_names

            return class_names(self.inner)
        name = self._name_in_torchvision
        return None if name is None else names_of_torchvision(name, self.inner)


def torchvision_name(model: Any) -> str | None:
    """Returns the name by which torchvision's get_model makes a network of the model's class and shapes; else None.

    >>> from torchvision import models
    >>> torchvision_name(models.squeezenet1_1(num_classes=7)), torchvision_name(nn.Flatten())
    ('squeezenet1_1', None)
    """
    home = type(model).__module__
    if not home.startswith("torchvision.models.") or not isinstance(model, nn.Module):
        return None
    from torchvision import models

    def shapes(module: nn.Module) -> list[torch.Size]:
        # All but the last two tensors, which are the head's: it may have another number of classes.
        return [value.shape for value in module.state_dict().values()][:-2]

    for name in models.list_models(module=models):
        if models.get_model_builder(name).__module__ == home:
            with torch.device("meta"):
                other = models.get_model(name, weights=None)
            if type(other) is type(model) and shapes(other) == shapes(model):
                return str(name)
    return None
