"""Which layer a class activation map reads, where the user names none.

The rule: of the modules in the order in which they finish, the last one whose output is a feature map: four axes, both
sides larger than one pixel and in the proportion of the image's, and another number of channels than classes (those
would be scores). Adaptive pooling, dropout and identities are passed over. This is `features` of torchvision's
SqueezeNet, VGG, DenseNet, MobileNet, EfficientNet and ConvNeXt, `layer4` of ResNets, and `features` of the demo.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.frozen import owner
from inr_xai.errors import UserError, did_you_mean

PASSED_OVER = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
Finished = list[tuple[str, tuple[int, ...]]]


def last_feature_layer(classifier: FrozenClassifier, device: torch.device) -> str:
    """The name of the layer that the rule above finds.

    Raises:
        UserError: no output is a feature map, or the network goes on with tokens (transformers).
    """
    height, width = classifier.preprocessing.size
    finished = _finished(classifier, device)
    maps = [place for place, (_, shape) in enumerate(finished) if _is_map(shape, (height, width))]
    scored = [place for place in maps if finished[place][1][1] != classifier.num_classes]
    if not scored:
        raise UserError("no layer of the classifier has a feature map as output; leave the class activation maps out")
    name = finished[scored[-1]][0]
    if any(_holds_tokens(shape, (height, width)) for _, shape in finished[scored[-1] + 1 :]):
        raise UserError(
            f"behind its last feature map, {name}, the classifier goes on with tokens, which class activation maps do "
            "not read; name a layer with --layer, or leave these methods out"
        )
    return name


def find_layer(classifier: FrozenClassifier, name: str) -> nn.Module:
    """The module of this name. Raises UserError where there is none."""
    names = dict(_root(classifier).named_modules())
    if name not in names or name == "":
        hint = did_you_mean(name, names) or "; take a name of model.named_modules()"
        raise UserError(f"the classifier has no layer {name!r}{hint}")
    return names[name]


def _root(classifier: FrozenClassifier) -> nn.Module:
    root = owner(classifier.model)
    if root is None:
        raise UserError("class activation maps need a torch.nn.Module; leave these methods out")
    return root


def _finished(classifier: FrozenClassifier, device: torch.device) -> Finished:
    """Name and shape of every module's output, in the order in which they finish, for one grey image."""
    channels = len(classifier.preprocessing.mean)
    image = torch.full((1, channels, *classifier.preprocessing.size), 0.5, device=device)
    with classifier.frozen(device, torch.float32), torch.no_grad(), _watched(_root(classifier)) as finished:
        classifier(image)
    return finished


@contextmanager
def _watched(root: nn.Module) -> Iterator[Finished]:
    finished: Finished = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            finished.append((name, tuple(output.shape)))

    handles = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, part in root.named_modules()
        if name and not isinstance(part, PASSED_OVER)
    ]
    try:
        yield finished
    finally:
        for handle in handles:
            handle.remove()


def _is_map(shape: tuple[int, ...], image: tuple[int, int]) -> bool:
    """Whether a shape is b x c x h x w with h : w as in the image, up to a pixel."""
    if len(shape) != 4 or min(shape[2:]) < 2:
        return False
    height, width = shape[2:]
    return abs(height * image[1] - width * image[0]) <= max(image)


def _holds_tokens(shape: tuple[int, ...], image: tuple[int, int]) -> bool:
    """Whether a shape has places, but not as a feature map has: b x tokens x c, or b x h x w x c."""
    return (len(shape) == 3 and shape[1] > 1) or (len(shape) == 4 and max(shape[2:]) > 1 and not _is_map(shape, image))
