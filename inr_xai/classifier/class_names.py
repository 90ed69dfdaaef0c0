"""The names of a classifier's classes: those of a file, or of the data set that a library's weights were trained on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.data.files import read_text
from inr_xai.data.labels import imagenet_names
from inr_xai.errors import UserError, did_you_mean

IMAGENET = 1000
"""Number of classes of ImageNet-1k."""
FORM = 'write one name a line, line 1 for class 0, or JSON: ["name", ...] or {"0": "name", ...}'


def read_class_names(file: str | Path, option: str = "classifier.classes") -> list[str]:
    """Returns the name of each class index.

    A text file has one name per line; a .json file a list of names, or an object with a name for each index, as
    Hugging Face's `id2label`. Names may repeat, as ImageNet's do.

    Args:
        option: names the file in a refusal.

    Raises:
        UserError: the file cannot be read, or is not of this form.
    """
    path = Path(file).expanduser()
    try:
        text = read_text(path)
        names = _from_json(json.loads(text)) if path.suffix.lower() == ".json" else text.rstrip().splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{option}={str(file)!r} cannot be read ({error}); {FORM}") from error
    names = [name.strip() for name in names]
    if not names or "" in names:
        where = f"has no name for class {names.index('')}" if names else "holds no name"
        raise UserError(f"{option}={str(file)!r} {where}; {FORM}")
    return names


def names_of_timm(model: nn.Module) -> list[str] | None:
    """Returns the names of the classes of ImageNet, 1k to 22k, if a timm model has these; else None."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(model)
    return None if subset is None else [str(name) for name in ImageNetInfo(subset).label_descriptions()]


def names_of_torchvision(name: str, model: nn.Module) -> list[str] | None:
    """Returns the names of ImageNet's classes if a torchvision model has these, as torchvision's weights do."""
    from inr_xai.classifier.torchvision_models import default_weights

    weights = default_weights(name)
    categories = [] if weights is None else weights.meta.get("categories", [])
    layers = [part for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    *_, last = layers
    classes = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    return imagenet_names() if classes == IMAGENET == len(categories) else None


def with_names(classifier: FrozenClassifier, file: str | Path | None) -> FrozenClassifier:
    """Gives a classifier the names of a file, if there is one, and returns it.

    Raises UserError if the file cannot be read, or holds not as many names as there are classes.
    """
    if file is not None:
        names, classes = read_class_names(file), classifier.count_classes()
        if len(names) != classes:
            raise UserError(
                f"classifier.classes={str(file)!r} holds {len(names)} names and the classifier has {classes} classes; "
                "give one name for each class, in the order of its outputs"
            )
        classifier.class_names = names
    return classifier


def class_index(name: str, class_names: Sequence[str] | None) -> int:
    """Returns the index of a class by its name, or by one of the synonyms that its name lists between commas.

    >>> class_index("Crane", ["tench, Tinca tinca", "crane"]), class_index("tench", ["tench, Tinca tinca", "crane"])
    (1, 0)

    Raises:
        UserError: the names are unknown, no class has this one, or several have.
    """
    if class_names is None:
        raise UserError(f"target={name!r}: the names of the classes are unknown; give a class index, or classes=NAMES")
    wanted = name.strip().casefold()
    found = [index for index, known in enumerate(class_names) if known.casefold() == wanted]
    if not found:
        synonyms = [[part.strip().casefold() for part in known.split(",")] for known in class_names]
        found = [index for index, parts in enumerate(synonyms) if wanted in parts]
    if len(found) == 1:
        return found[0]
    if found:
        indices = ", ".join(map(str, found))
        raise UserError(f"target={name!r} names several classes ({indices}); give one of these indices")
    parts = list(dict.fromkeys(part.strip() for known in class_names for part in known.split(",")))
    raise UserError(f"target={name!r} is the name of no class{did_you_mean(name, parts, most=3, cutoff=0.5)}")


def _from_json(content: Any) -> list[str]:
    if isinstance(content, dict):
        if set(content) != {str(index) for index in range(len(content))}:
            raise ValueError(f"its keys are not 0 to {len(content) - 1}")
        content = [content[str(index)] for index in range(len(content))]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ValueError("it holds no list of names")
    return content
