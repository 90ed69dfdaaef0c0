"""RISE as users of TorchRay run it: the mean of random masks, weighted by the probability of the image behind each.

Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, section 3.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.methods.base import Explainer, MethodMaps, Stopwatch, require_module
from inr_xai.compare.methods.counted_logits import CountedLogits
from inr_xai.limits import require_probabilities
from inr_xai.seeding import generator
from inr_xai.types import Image

TORCHRAY_RISE = ("torchray.attribution.rise", "torchray")


class RISE(Explainer):
    """`torchray.attribution.rise` with its grid of 7 x 7 cells, each of which is kept with probability 1/2.

    The map is mean(p(x, m) m) over the masks m, in [0, 1]. TorchRay leaves out the factor 1 / E[m] of the paper, which
    is 2 everywhere. Hidden pixels have the mean colour, as in the authors' code, which masks the normalised image.
    TorchRay takes the sigmoid of what the model returns for a probability. So it is given the log-odds of the class:
    the sigmoid of a softmax network's logit would be near 1 behind every mask.

    Masks are drawn on the device, so an accelerator draws others than a CPU.

    Args:
        masks: how many are drawn; each costs a forward, and TorchRay asks for one more. TorchRay draws 8,000 by
            default, the authors 4,000 for VGG-16 and 8,000 for ResNet-50.
        seed: names the draws, together with the image's id.

    Raises:
        UserError: the classifier gives no probabilities.
    """

    modules = (TORCHRAY_RISE,)

    def __init__(self, classifier: FrozenClassifier, *, device: torch.device, masks: int = 1000, seed: int = 0):
        require_probabilities(classifier.head, "RISE")
        self._classifier, self._device, self._masks, self._seed = classifier, device, masks, seed

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"rise": self._masks, "seed": self._seed}

    def explain(self, image: Image, target: int, image_id: str) -> MethodMaps:
        torchray = require_module(*TORCHRAY_RISE)
        inputs = image[None].to(self._device, torch.float32)
        colour = inputs.new_tensor(self._classifier.colour_mean)[:, None, None]
        model = LogOdds(self._classifier, target, colour)
        with (
            self._classifier.frozen(self._device, torch.float32),
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            Stopwatch(self._device) as watch,
        ):
            saliency = torchray.rise(
                model,
                inputs - colour,
                seed=generator(self._seed, image_id, "rise").initial_seed(),
                num_masks=self._masks,
            )
        return MethodMaps(saliency[0].cpu(), passes=model.logits.images / 2, seconds=watch.seconds)


class LogOdds(nn.Module):
    """The log-odds log(p / (1 - p)) of one class, for images from which a colour was subtracted."""

    def __init__(self, classifier: FrozenClassifier, target: int, colour: Float[Tensor, "c 1 1"]):
        super().__init__()
        self.logits = CountedLogits(classifier)
        self._classifier, self._target, self._colour = classifier, target, colour

    def forward(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        logits = self.logits(inputs + self._colour)
        targets = torch.full((len(logits),), self._target, device=logits.device)
        return self._classifier.probability(logits, targets).logit().unsqueeze(1)
