"""The methods of the comparison by name, and how each is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.methods.beside import InFreeRegion, Reseeded
from inr_xai.compare.methods.captum_methods import IntegratedGradients, Occlusion
from inr_xai.compare.methods.class_activation import CAM
from inr_xai.compare.methods.controls import CentredDisc, RandomMasks
from inr_xai.compare.methods.extremal_perturbation import TorchRay
from inr_xai.compare.methods.ours import FirstExplanation, Fit, SecondExplanation
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import UserError, did_you_mean
from inr_xai.method import Method

PASSES = {50: 12, 100: 25, 200: 50, 400: 100, 800: 200}
"""About so many passes over four areas -> optimisation steps."""


@dataclass(frozen=True)
class Conditions:
    """What methods that are not ours are built from.

    Args:
        areas: of methods with a mask per area.
        layer: that class activation maps read; None takes the last feature map.
        seed: of random masks.
    """

    classifier: FrozenClassifier
    device: torch.device
    areas: Sequence[float]
    layer: str | None = None
    seed: int = 0

    def cam(self, kind: str) -> CAM:
        return CAM(self.classifier, device=self.device, kind=kind, layer=self.layer)

    def torchray(self, reward: str) -> TorchRay:
        return TorchRay(self.classifier, areas=self.areas, device=self.device, reward=reward)


OTHERS: dict[str, Callable[[Conditions], Explainer]] = {
    "torchray": lambda own: own.torchray("simple_reward"),
    "torchray_contrastive": lambda own: own.torchray("contrastive_reward"),
    "gradcam": lambda own: own.cam("GradCAM"),
    "gradcam_plus_plus": lambda own: own.cam("GradCAMPlusPlus"),
    "layercam": lambda own: own.cam("LayerCAM"),
    "integrated_gradients": lambda own: IntegratedGradients(own.classifier, device=own.device),
    "occlusion": lambda own: Occlusion(own.classifier, device=own.device),
    "random": lambda own: RandomMasks(seed=own.seed),
    "disc": lambda own: CentredDisc(),
}


@dataclass(frozen=True)
class Kit:
    """What all methods are built from.

    Args:
        compose: options as on the command line (`objective=hybrid`) -> our method with them.
        seed: of our fits and of random masks.
        layer: that class activation maps read; None takes the last feature map.
        donors: photos that a fit may use.
        trainer: accelerator and precision of our fits.
    """

    classifier: FrozenClassifier
    device: torch.device
    areas: Sequence[float]
    compose: Callable[[Sequence[str]], Method]
    maker: MapMaker
    seed: int = 0
    layer: str | None = None
    donors: PhotoPool | None = None
    trainer: Mapping[str, Any] | None = None

    def fit(self, *options: str) -> Fit:
        """Our fit with some options changed."""
        method = self.compose(options)
        return Fit(method, self.classifier, device=self.device, donors=self.donors, trainer=self.trainer)

    def shortened(self, steps: int) -> FirstExplanation:
        """Our fit of so many steps."""
        return FirstExplanation(self.fit(f"steps={steps}"), controlled=False)

    def hybrid(self) -> FirstExplanation:
        """Both games on one mask, in fewer steps: as many as the passes of `inr` allow."""
        passes, each = self.compose(()).passes, self.compose(("objective=hybrid", "steps=1")).passes
        return FirstExplanation(self.fit("objective=hybrid", f"steps={max(1, passes // each)}"))

    def other(self, name: str) -> Explainer:
        """A method that is not ours."""
        return OTHERS[name](Conditions(self.classifier, self.device, self.areas, layer=self.layer, seed=self.seed))

    def reseeded(self, name: str, option: str) -> Reseeded:
        """A setting of ours under the next seed, compared with itself under this one."""
        first = build(name, self)
        inside = FirstExplanation(self.fit(option), controlled=False)
        maps = partial(self.maker.maps, name, first)
        return Reseeded(inside, maps, of=first.settings, areas=self.areas, seed=self.seed)

    def in_free_region(self, name: str) -> InFreeRegion:
        """A method in the region of our second explanation."""
        second = build("inr_second", self)
        return InFreeRegion(build(name, self), partial(self.maker.maps, "inr_second", second), of=second.settings)


METHODS: dict[str, Callable[[Kit], Explainer]] = {
    "inr": lambda kit: FirstExplanation(kit.fit()),
    "inr_hybrid": Kit.hybrid,
    "inr_nested": lambda kit: FirstExplanation(kit.fit("nested=true", "inr.conditioning=none")),
    "inr_seed1": lambda kit: kit.reseeded("inr", f"seed={kit.seed + 1}"),
    **{f"inr_passes_{passes}": partial(Kit.shortened, steps=steps) for passes, steps in PASSES.items()},
    "inr_second": lambda kit: SecondExplanation(kit.fit("explanations=2")),
    **{name: partial(Kit.other, name=name) for name in OTHERS},
    "gradcam_second": lambda kit: kit.in_free_region("gradcam"),
    "chance_second": lambda kit: kit.in_free_region("random"),
}


def build(name: str, kit: Kit) -> Explainer:
    """The method of this name.

    Raises:
        UserError: there is none, it lacks its package, or it cannot explain this classifier.
    """
    require_known(name, METHODS)
    return METHODS[name](kit)


def build_other(name: str, conditions: Conditions) -> Explainer:
    """The method of this name, which is not ours. Raises UserError as `build` does."""
    require_known(name, OTHERS)
    return OTHERS[name](conditions)


def require_known(name: str, methods: Mapping[str, object]) -> None:
    if name not in methods:
        hint = did_you_mean(name, methods) or f"; choose some of {', '.join(methods)}"
        raise UserError(f"--methods names {name!r}, which is no method{hint}")
