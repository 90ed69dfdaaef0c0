"""The methods of the comparison by name, and how each is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.compare.comparison import MapMaker
from inr_xai.compare.methods.attention_rollout import AttentionRollout
from inr_xai.compare.methods.attn_lrp import AttnLRP
from inr_xai.compare.methods.base import Explainer
from inr_xai.compare.methods.captum_methods import IntegratedGradients, Occlusion
from inr_xai.compare.methods.class_activation import CAM
from inr_xai.compare.methods.controls import CentredDisc, RandomMasks
from inr_xai.compare.methods.extremal_perturbation import TorchRay
from inr_xai.compare.methods.lime import LIME
from inr_xai.compare.methods.ours import FirstExplanation, MaskFitter, SecondExplanation
from inr_xai.compare.methods.rise import RISE
from inr_xai.compare.methods.shap import PartitionSHAP
from inr_xai.compare.methods.with_reference import InFreeRegion, Reseeded
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import UserError, did_you_mean
from inr_xai.method import Method

STEPS = {50: 12, 100: 25, 200: 50, 400: 100, 800: 200}
"""Passes over four areas, in round numbers -> optimisation steps."""


@dataclass(frozen=True)
class MethodSetup:
    """What every method is built from.

    Args:
        areas: the areas of methods that make a mask for each area.
        layer: name of the module that class activation maps read; None takes the last feature map.
        seed: the seed of our fits, of random masks, and of other methods that draw.
    """

    classifier: FrozenClassifier
    device: torch.device
    areas: Sequence[float]
    layer: str | None = None
    seed: int = 0


def _torchray(setup: MethodSetup, *, reward: str) -> TorchRay:
    return TorchRay(setup.classifier, areas=setup.areas, device=setup.device, reward=reward)


def _cam(setup: MethodSetup, *, kind: str, margin: bool = False) -> CAM:
    return CAM(setup.classifier, device=setup.device, kind=kind, layer=setup.layer, margin=margin)


def _integrated_gradients(setup: MethodSetup, *, margin: bool = False) -> IntegratedGradients:
    return IntegratedGradients(setup.classifier, device=setup.device, margin=margin)


OTHER_METHODS: dict[str, Callable[[MethodSetup], Explainer]] = {
    "torchray": partial(_torchray, reward="simple_reward"),
    "torchray_contrastive": partial(_torchray, reward="contrastive_reward"),
    "gradcam": partial(_cam, kind="GradCAM"),
    "gradcam_plus_plus": partial(_cam, kind="GradCAMPlusPlus"),
    "layercam": partial(_cam, kind="LayerCAM"),
    "gradcam_margin": partial(_cam, kind="GradCAM", margin=True),
    "integrated_gradients": _integrated_gradients,
    "integrated_gradients_margin": partial(_integrated_gradients, margin=True),
    "attention_rollout": lambda setup: AttentionRollout(setup.classifier, device=setup.device),
    "attnlrp": lambda setup: AttnLRP(setup.classifier, device=setup.device),
    "occlusion": lambda setup: Occlusion(setup.classifier, device=setup.device),
    "rise": lambda setup: RISE(setup.classifier, device=setup.device, seed=setup.seed),
    "lime": lambda setup: LIME(setup.classifier, device=setup.device, seed=setup.seed),
    "shap": lambda setup: PartitionSHAP(setup.classifier, device=setup.device, seed=setup.seed),
    "random": lambda setup: RandomMasks(seed=setup.seed),
    "disc": lambda setup: CentredDisc(),
}
"""The methods that are not ours."""


@dataclass(frozen=True)
class MethodFactory:
    """Builds all methods, ours included.

    Args:
        compose: returns our method with options as on the command line (`objective=hybrid`).
        maker: makes or finds the maps that a method is compared with.
        donors: photos that a fit may use.
        trainer: accelerator and precision of our fits.
    """

    setup: MethodSetup
    compose: Callable[[Sequence[str]], Method]
    maker: MapMaker
    donors: PhotoPool | None = None
    trainer: Mapping[str, Any] | None = None

    def fitter(self, *options: str) -> MaskFitter:
        """Returns our fit with some options changed."""
        setup, method = self.setup, self.compose(options)
        return MaskFitter(method, setup.classifier, device=setup.device, donors=self.donors, trainer=self.trainer)

    def variant(self, *options: str) -> FirstExplanation:
        """Returns our fit with some options changed, as a method of its own."""
        return FirstExplanation(self.fitter(*options))

    def shortened(self, steps: int) -> FirstExplanation:
        """Returns our fit of so many steps."""
        return FirstExplanation(self.fitter(f"steps={steps}"), controlled=False)

    def hybrid(self) -> FirstExplanation:
        """Returns our fit of one mask for both games, in fewer steps: as many as the passes of `inr` allow."""
        passes, passes_a_step = self.compose(()).passes, self.compose(("objective=hybrid", "steps=1")).passes
        return FirstExplanation(self.fitter("objective=hybrid", f"steps={max(1, passes // passes_a_step)}"))

    def other_method(self, name: str) -> Explainer:
        """Returns a method that is not ours."""
        return OTHER_METHODS[name](self.setup)

    def reseeded(self, name: str, option: str) -> Reseeded:
        """Returns our method with an option that changes its seed, compared with the method `name`."""
        first = build_explainer(name, self)
        return Reseeded(
            FirstExplanation(self.fitter(option), controlled=False),
            partial(self.maker.maps, name, first),
            first_settings=first.settings,
            areas=self.setup.areas,
            seed=self.setup.seed,
        )

    def in_free_region(self, name: str) -> InFreeRegion:
        """Returns another method, which may keep only what was free for our second explanation."""
        second = build_explainer("inr_second", self)
        maps = partial(self.maker.maps, "inr_second", second)
        return InFreeRegion(self.other_method(name), maps, second_settings=second.settings)


METHODS: dict[str, Callable[[MethodFactory], Explainer]] = {
    "inr": lambda factory: factory.variant(),
    "inr_hybrid": MethodFactory.hybrid,
    "inr_nested": lambda factory: factory.variant("nested=true", "inr.conditioning=none"),
    "inr_seed1": lambda factory: factory.reseeded("inr", f"seed={factory.setup.seed + 1}"),
    **{f"inr_passes_{passes}": partial(MethodFactory.shortened, steps=steps) for passes, steps in STEPS.items()},
    "inr_second": lambda factory: SecondExplanation(factory.fitter("explanations=2")),
    **{name: partial(MethodFactory.other_method, name=name) for name in OTHER_METHODS},
    "gradcam_second": lambda factory: factory.in_free_region("gradcam"),
    "chance_second": lambda factory: factory.in_free_region("random"),
}
"""All methods of the comparison."""


def build_explainer(name: str, factory: MethodFactory) -> Explainer:
    """Returns the method of this name.

    Raises:
        UserError: there is no such method, it lacks its package, or it cannot explain this classifier.
    """
    _require_known(name, METHODS)
    explainer = METHODS[name](factory)
    explainer.require_packages()
    return explainer


def build_other_method(name: str, setup: MethodSetup) -> Explainer:
    """Returns the method of this name, which is not ours. Raises UserError as `build_explainer` does."""
    _require_known(name, OTHER_METHODS)
    explainer = OTHER_METHODS[name](setup)
    explainer.require_packages()
    return explainer


def _require_known(name: str, methods: Mapping[str, object]) -> None:
    if name not in methods:
        hint = did_you_mean(name, methods) or f"; choose some of {', '.join(methods)}"
        raise UserError(f"--methods names {name!r}, which is no method{hint}")
