"""The layer that a class activation map reads if the user names none.

The rule: of the modules in the order in which they finish, the last one whose output is a feature map. A feature map
has four axes, both sides are larger than one pixel and in the proportion of the image's sides, and it has another
number of channels than there are classes (with as many channels it would hold scores). Adaptive pooling, dropout and
identities are passed over. The rule finds `features` of torchvision's SqueezeNet, VGG, DenseNet, MobileNet,
EfficientNet and ConvNeXt, `layer4` of ResNets, and `features` of the demo classifier.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.classifier.feature_maps import is_feature_map
from inr_xai.classifier.frozen import owner
from inr_xai.errors import UserError, did_you_mean

PASSED_OVER = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
Outputs = list[tuple[str, tuple[int, ...]]]
"""Name and output shape of modules, in the order in which they finish."""


def last_feature_layer(classifier: FrozenClassifier, device: torch.device) -> str:
    """Returns the name of the layer that the rule above finds, by one pass of a grey image.

    Raises:
        UserError: no output is a feature map, or the network goes on with tokens (transformers).
    """
    size = classifier.preprocessing.size
    image = torch.full((1, len(classifier.preprocessing.mean), *size), 0.5, device=device)
    with classifier.frozen(device, torch.float32), torch.no_grad(), _recorded(_root(classifier)) as outputs:
        classifier(image)
    maps = [
        place
        for place, (_, shape) in enumerate(outputs)
        if is_feature_map(shape, size) and shape[1] != classifier.num_classes
    ]
    if not maps:
        raise UserError("no layer of the classifier has a feature map as output; leave the class activation maps out")
    name = outputs[maps[-1]][0]
    if any(_holds_tokens(shape, size) for _, shape in outputs[maps[-1] + 1 :]):
        raise UserError(
            f"behind its last feature map, {name}, the classifier goes on with tokens, which class activation maps do "
            "not read; name a layer with --layer, or leave these methods out"
        )
    return name


def find_layer(classifier: FrozenClassifier, name: str) -> nn.Module:
    """Returns the module of this name. Raises UserError if there is none."""
    modules = dict(_root(classifier).named_modules())
    if name not in modules or name == "":
        hint = did_you_mean(name, modules) or "; take a name of model.named_modules()"
        raise UserError(f"the classifier has no layer {name!r}{hint}")
    return modules[name]


def _root(classifier: FrozenClassifier) -> nn.Module:
    root = owner(classifier.model)
    if root is None:
        raise UserError("class activation maps need a torch.nn.Module; leave these methods out")
    return root


@contextmanager
def _recorded(root: nn.Module) -> Iterator[Outputs]:
    """Records the outputs of all modules below `root` during the block."""
    outputs: Outputs = []

    def record(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((name, tuple(output.shape)))

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: record(name, output))
        for name, module in root.named_modules()
        if name and not isinstance(module, PASSED_OVER)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _holds_tokens(shape: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Returns whether a shape has places in another layout than a feature map: b x tokens x c, or b x h x w x c."""
    if len(shape) == 3:
        return shape[1] > 1
    return len(shape) == 4 and max(shape[2:]) > 1 and not is_feature_map(shape, image_size)
