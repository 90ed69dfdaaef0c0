"""The sources of classifiers, one function each: the demo, timm, torchvision, Hugging Face, or the user's own module.

Each imports what it needs when it is called.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from inr_xai.classifier.frozen import FrozenClassifier, require_head
from inr_xai.classifier.options import IMAGENET_MEAN, IMAGENET_STD, read_options
from inr_xai.errors import UserError
from inr_xai.limits import check_statistics, height_and_width
from inr_xai.types import Preprocessing

if TYPE_CHECKING:
    from inr_xai.classifier.checkpoint import Checkpoint

log = logging.getLogger(__name__)


def demo() -> FrozenClassifier:
    """Returns the small classifier of the synthetic scenes that comes with the package."""
    from inr_xai.classifier.demo_network import MEAN, SIZE, STD, demo_network
    from inr_xai.data.scenes.synthetic import Synthetic

    preprocessing = Preprocessing(size=(SIZE, SIZE), resize=SIZE, interpolation="bilinear", mean=MEAN, std=STD)
    names = Synthetic(size=1).class_names
    return FrozenClassifier(demo_network(), preprocessing=preprocessing, channels_last=True, class_names=names)


def from_timm(
    name: str,
    *,
    pretrained: bool = True,
    checkpoint: str | Path | None = None,
    checkpoint_key: str | None = None,
    input_size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    model_args: Mapping[str, Any] | None = None,
    head: str = "softmax",
    classes: str | Path | None = None,
) -> FrozenClassifier:
    """Returns a model of timm with its own evaluation transform.

    Args:
        name: any name that timm.create_model takes ("resnet50.tv_in1k", "hf-hub:owner/name", "local-dir:PATH").
        pretrained: load the hub's weights; False draws them at random.
        checkpoint: a local file of weights to load instead, without the hub.
        checkpoint_key: which part of that file is loaded: names of dicts and prefixes of keys, joined by dots.
        input_size: side of the square input in pixels, or its height and width, in place of the model's own.
        mean, std: statistics per channel with which images in [0, 1] are normalised, in place of the model's own.
        model_args: further arguments of timm.create_model.
        head: what the outputs are; see `FrozenClassifier`.
        classes: a file with the names of the classes, in place of ImageNet's; see `read_class_names`.

    Raises:
        UserError: timm has no such model, its weights cannot be loaded, or they would only fit if they were changed.
    """
    from inr_xai.classifier import timm_models
    from inr_xai.classifier.class_names import names_of_timm, with_names

    require_head(head)
    options = read_options(input_size, mean, std, model_args)
    file = read_checkpoint(checkpoint, checkpoint_key)
    timm_name = timm_models.resolve_name(name, weights=pretrained and file is None)
    size = options.size
    if file is not None:
        model, size = timm_models.with_checkpoint(timm_name, file, size=size, **options.model_args)
    elif pretrained:
        model = timm_models.from_hub(timm_name, size=size, **options.model_args)
    else:
        warn_untrained(name)
        model = timm_models.build(timm_name, size=size, **options.model_args)
    preprocessing = options.normalised(timm_models.preprocessing_of(model, name, size))
    names = names_of_timm(model)
    classifier = FrozenClassifier(model, preprocessing=preprocessing, head=head, channels_last=True, class_names=names)
    return with_names(classifier, classes)


def from_torchvision(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_key: str | None = None,
    input_size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    model_args: Mapping[str, Any] | None = None,
    head: str = "softmax",
    classes: str | Path | None = None,
) -> FrozenClassifier:
    """Returns a classification model of torchvision with the evaluation transform of torchvision's weights.

    Args:
        name: any name that torchvision.models.get_model takes.
        pretrained: load torchvision's newest weights, downloaded once; False draws them at random.
        checkpoint: a local file of weights to load instead, without a download.
        checkpoint_key: which part of that file is loaded: names of dicts and prefixes of keys, joined by dots.
        input_size: side of the square input in pixels, in place of the model's own.
        mean, std: statistics per channel with which images in [0, 1] are normalised, in place of the model's own.
        model_args: further arguments of torchvision's builder of the model.
        head: what the outputs are; see `FrozenClassifier`.
        classes: a file with the names of the classes, in place of ImageNet's; see `read_class_names`.

    Raises:
        UserError: torchvision has no such model, its weights cannot be loaded, or they do not fit.
    """
    from inr_xai.classifier import torchvision_models
    from inr_xai.classifier.class_names import names_of_torchvision, with_names

    require_head(head)
    options = read_options(input_size, mean, std, model_args)
    file = read_checkpoint(checkpoint, checkpoint_key)
    torchvision_models.require_name(name)
    size = options.size
    if file is not None:
        model, size = torchvision_models.with_checkpoint(name, file, size=size, **options.model_args)
    elif pretrained:
        model = torchvision_models.from_hub(name, size=size, **options.model_args)
    else:
        warn_untrained(name)
        model = torchvision_models.build(name, size=size, **options.model_args)
    preprocessing = options.normalised(torchvision_models.preprocessing_of(name, size))
    names = names_of_torchvision(name, model)
    classifier = FrozenClassifier(model, preprocessing=preprocessing, head=head, channels_last=True, class_names=names)
    return with_names(classifier, classes)


def from_hugging_face(
    name: str,
    *,
    pretrained: bool = True,
    checkpoint: str | Path | None = None,
    checkpoint_key: str | None = None,
    head: str = "softmax",
    classes: str | Path | None = None,
) -> FrozenClassifier:
    """Returns an image classifier of transformers with what its own image processor does to a photo.

    Args:
        name: a folder into which the model's and the processor's save_pretrained have written, or a name of Hugging
            Face's hub ("owner/name", "owner/name@revision"), which is downloaded once.
        pretrained: load the weights, which must be safetensors; False draws them at random.
        checkpoint: a local file of weights to load instead.
        checkpoint_key: which part of that file is loaded: names of dicts and prefixes of keys, joined by dots.
        head: what the outputs are; see `FrozenClassifier`.
        classes: a file with the names of the classes, in place of the model's own; see `read_class_names`.

    Raises:
        UserError: transformers is not installed, there is no such model, its weights are incomplete, or its processor
            does what no `Preprocessing` can say.
    """
    require_head(head)
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise UserError("classifier=hugging_face needs the package transformers; pip install 'inr-xai[hf]'") from error
    from inr_xai.classifier import hugging_face
    from inr_xai.classifier.class_names import with_names

    file = read_checkpoint(checkpoint, checkpoint_key)
    place = hugging_face.find_folder(name, weights=pretrained and file is None)
    preprocessing = hugging_face.preprocessing_of(hugging_face.load_processor(place))
    if file is not None:
        model = hugging_face.with_checkpoint(place, file)
    elif pretrained:
        model = hugging_face.from_hub(place)
    else:
        warn_untrained(name)
        model = hugging_face.build(place)
    if head == "softmax" and getattr(model.config, "problem_type", None) == "multi_label_classification":
        raise UserError(
            f"the model of {name!r} gives an image several classes by its config; set classifier.head=sigmoid"
        )
    names = hugging_face.class_names(model)
    return with_names(FrozenClassifier(model, preprocessing=preprocessing, head=head, class_names=names), classes)


def custom(
    model: Any,
    *,
    input_size: int | Sequence[int] = 224,
    resize: int | Sequence[int] = 256,
    interpolation: str = "bilinear",
    mean: Any = IMAGENET_MEAN,
    std: Any = IMAGENET_STD,
    checkpoint: str | Path | None = None,
    checkpoint_key: str | None = None,
    head: str = "softmax",
    classes: str | Path | None = None,
) -> FrozenClassifier:
    """Returns a classifier of the user's own module, which maps normalised images to logits.

    Args:
        model: a torch.nn.Module (anything else is refused, as a configuration can name any callable).
        input_size: side of the square input in pixels, or its height and width.
        resize: length to which a photo's shorter side is resized before the centre crop, or the height and width to
            which the whole photo is squashed.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: statistics per channel with which images in [0, 1] are normalised.
        checkpoint: a local file of weights that the module's load_state_dict takes.
        checkpoint_key: which part of that file is loaded: names of dicts and prefixes of keys, joined by dots.
        head: what the outputs are; see `FrozenClassifier`.
        classes: a file with the names of the classes; see `read_class_names`.

    Raises:
        UserError: an option that is not allowed, or a checkpoint that does not fit the module.
    """
    require_head(head)
    if not isinstance(model, nn.Module):
        raise UserError(f"classifier.model is a {type(model).__name__}; name a callable that returns a torch.nn.Module")
    from inr_xai.classifier.class_names import with_names

    check_statistics(mean, std)
    file = read_checkpoint(checkpoint, checkpoint_key)
    if file is not None:
        from inr_xai.classifier.checkpoint import load_into

        load_into(model, file.state_for(model), name=type(model).__name__, file=file.file)
    preprocessing = Preprocessing(
        size=height_and_width(input_size, "input_size"),
        resize=resize if type(resize) is int and resize > 0 else height_and_width(resize, "resize"),
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )
    return with_names(FrozenClassifier(model, preprocessing=preprocessing, head=head), classes)


def read_checkpoint(file: str | Path | None, key: str | None) -> "Checkpoint | None":
    """Returns the tensors of a local file; None if there is no file, which a key then needs."""
    if file is None and key is not None:
        raise UserError(f"classifier.checkpoint_key={key!r} names a part of a file; give classifier.checkpoint too")
    if file is None:
        return None
    from inr_xai.classifier.checkpoint import read_state

    return read_state(file, key)


def warn_untrained(name: str) -> None:
    """Warns that explanations of a network with random weights mean nothing, which no result would show."""
    log.warning("classifier %s has random weights; set classifier.pretrained=true or classifier.checkpoint=PATH", name)
