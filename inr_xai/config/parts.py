"""Refuses parts of a run that are of a wrong kind, cannot be built, or do not go with the classifier's input size.

What costs nothing is built for that: the parts of a fit, callbacks, the settings of W&B, drawn scenes.
"""

from collections.abc import Mapping
from typing import Any

from inr_xai.config.allowed import is_a, locate
from inr_xai.config.schema import COLLECTIONS
from inr_xai.config.targets import argument, build
from inr_xai.errors import UserError
from inr_xai.limits import require_size

KINDS = {
    "perturbation": "inr_xai.perturbation:Perturbation",
    "inr": "inr_xai.inr:INR",
    "area_rule": "inr_xai.area:AreaRule",
    "objective": "inr_xai.objective:Objective",
    "score": "inr_xai.objective:ScoreFunction",
    "start": "inr_xai.classifier.start:Start",
    "optimizer": "torch.optim:Optimizer",
    "store": "inr_xai.runs.store:Store",
    "callbacks": "inr_xai.callbacks:RunCallback",
    "logger": "inr_xai.loggers:WandbSettings",
}
"""Group -> the class that its parts are of, as module:name."""
CHEAP = ("perturbation", "inr", "area_rule", "objective", "score", "optimizer", "jitter", "reveal", "start", "store")
"""The groups whose parts are built by the check."""
DRAWN = ("inr_xai.data.Synthetic", "inr_xai.data.ShapesInContext", "inr_xai.data.scenes.")
"""How the targets of data begin that read no file."""
SIDES = {
    "inr_xai.classifier.demo": 96,
    "inr_xai.classifier.context.shapes_in_context": 128,
    "inr_xai.classifier.shapes_in_context": 128,
}
"""Target -> the side of its input in pixels, for a refusal that need not build it."""
USUAL_SIDE = 16
"""Pixels; no classifier has a smaller input, or nearly none."""


def check_kind(node: Mapping[str, Any], key: str, allow: list[str]) -> None:
    """Refuses a class that is not of the kind that the group builds; what a function returns is not known yet."""
    base = KINDS.get(key.split(".")[0])
    target = locate(node["_target_"], f"{key}._target_", allow)
    if base is not None and isinstance(target, type) and not is_a(target, [base]):
        module, _, name = base.partition(":")
        raise UserError(f"{key}._target_={node['_target_']} is no {name}; give a subclass of {module}.{name}")


def check_parts(plain: Mapping[str, Any]) -> None:
    """Builds the parts that cost nothing, for the refusals of their constructors: they would else wait for the run."""
    for group in CHEAP:
        node, allow = plain[group], plain["allow_targets"]
        part = build(node, group, allow)
        if group == "inr" and node.get("_partial_", False):
            _build_network(part)
        elif group == "optimizer":
            _try_optimizer(part)
        elif KINDS.get(group) is not None and not is_a(type(part), [KINDS[group]]):
            raise UserError(f"{group}._target_={node['_target_']} makes no {KINDS[group].partition(':')[2]}")
    for group in COLLECTIONS:
        for name, node in plain[group].items():
            if node is not None:
                build(node, f"{group}.{name}", plain["allow_targets"])
    if plain["data"]["_target_"].startswith(DRAWN) and not any("?" in str(value) for value in plain["data"].values()):
        build(plain["data"], "data", plain["allow_targets"])


def _build_network(family: Any) -> None:
    """Makes a network of one image."""
    import torch  # late: importing this module must not wait for it

    family([torch.Generator()])


def _try_optimizer(factory: Any) -> None:
    """Refuses an optimiser that does not take its arguments, or no step: it says so only once it has parameters."""
    import torch

    parameter = torch.nn.Parameter(torch.ones(2, 2))

    def closure() -> Any:
        parameter.grad = torch.ones(2, 2)
        return parameter.detach().sum()

    try:
        optimizer = factory([parameter])
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"it makes a {type(optimizer).__name__}, which is no torch.optim.Optimizer")
        optimizer.step(closure)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer cannot be built: {error}; correct the values of optimizer") from error


def check_input_size(plain: Mapping[str, Any]) -> None:
    """Refuses areas and a stride that the classifier's input is too small for.

    The classifier is built for it, but only if the values are unusual: building one can take long.
    """
    areas, stride = plain["areas"], plain["stride"]
    usual = stride <= USUAL_SIDE and all(1 / USUAL_SIDE**2 <= area <= 1 - 1 / USUAL_SIDE**2 for area in areas)
    if not usual and known_side(plain) is None:
        allow, data = plain["allow_targets"], plain["data"]
        height, width = build(plain["classifier"], "classifier", allow).preprocessing.size
        side = argument(data, "side", allow) if data["_target_"].endswith(".Grid") else 1
        require_size((height * side, width * side), areas=areas, stride=stride)


def known_side(plain: Mapping[str, Any]) -> int | None:
    """Returns the side of the classifier's square input if the configuration tells it; None if not."""
    classifier, data = plain["classifier"], plain["data"]
    if (
        not isinstance(classifier, Mapping)
        or not isinstance(data, Mapping)
        or str(data.get("_target_")).endswith("Grid")
    ):
        return None
    side = SIDES.get(str(classifier.get("_target_")), classifier.get("input_size"))
    return side if type(side) is int else None
