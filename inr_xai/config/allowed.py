"""Which `_target_` a configuration may build: a configuration is code, and it may come from someone else.

A target is judged by the object that its path leads to: where it is defined, and of which kind it is. Of the packages
in PACKAGES a few kinds are built; all else of them, and all of every other package, only if `allow_targets` names it.
Nothing is imported before its package is known to be one of these.
"""

import importlib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inr_xai.errors import UserError, did_you_mean, shown


@dataclass(frozen=True)
class Package:
    """What a configuration may build of a package.

    Args:
        modules: the modules, with their submodules, in which it may be defined.
        classes: base classes as module:name; their subclasses may be built.
        functions: decides, given a function, its module and its name, whether it may be called.
        what: the same in words.
    """

    modules: tuple[str, ...]
    classes: tuple[str, ...]
    what: str
    functions: Callable[[Any, str, str], bool] = lambda function, module, name: False


def _of_torchvision(function: Any, module: str, name: str) -> bool:
    """Returns whether a function is `get_model`, or one of the models that torchvision lists."""
    models = importlib.import_module("torchvision.models")
    if function is models.get_model:
        return True
    return name in models.list_models() and models.get_model_builder(name) is function


def _of_timm(function: Any, module: str, name: str) -> bool:
    """Returns whether a function is `create_model`, or one of the models that timm lists."""
    models = importlib.import_module("timm.models")
    if function is importlib.import_module("timm").create_model:
        return True
    return models.is_model(name) and models.model_entrypoint(name) is function


def _of_ours(function: Any, module: str, name: str) -> bool:
    """Returns whether a function returns a classifier, a network or a data set, as it says itself."""
    if module not in ("inr_xai.classifier.sources", "inr_xai.classifier.context", *SINGLE_FUNCTIONS):
        return False
    returned = inspect.get_annotations(inspect.unwrap(function)).get("return")
    classifier = importlib.import_module("inr_xai.classifier.frozen").FrozenClassifier
    return returned is classifier or SINGLE_FUNCTIONS.get(module) == name


SINGLE_FUNCTIONS = {
    "inr_xai.classifier.demo_network": "demo_network",
    "inr_xai.data.image_folder": "imagenet",
}
"""Modules of which one function may be called that returns no classifier."""
DATA = "inr_xai.data"
"""The folder whose classes with a method `load` are data sets."""
PACKAGES = {
    "torch": Package(
        ("torch.nn", "torch.optim"),
        ("torch.nn:Module", "torch.optim:Optimizer", "torch.optim.lr_scheduler:LRScheduler"),
        "the Modules of torch.nn, and the optimisers and schedulers of torch.optim",
    ),
    "torchvision": Package(
        ("torchvision.models", "torchvision.ops"),
        ("torch.nn:Module",),
        "its Modules, torchvision.models.get_model, and the models of torchvision.models.list_models()",
        _of_torchvision,
    ),
    "timm": Package(
        ("timm.models", "timm.layers"),
        ("torch.nn:Module",),
        "its Modules, timm.create_model, and the models of timm.list_models()",
        _of_timm,
    ),
    "lightning": Package(
        ("lightning.pytorch.callbacks",),
        ("lightning.pytorch.callbacks:Callback",),
        "the callbacks of lightning.pytorch.callbacks",
    ),
    "torchmetrics": Package(
        ("torchmetrics.classification", "torchmetrics.regression", "torchmetrics.segmentation"),
        ("torchmetrics:Metric",),
        "the metrics of torchmetrics.classification, regression and segmentation",
    ),
    "wandb": Package(("wandb.sdk.wandb_settings",), ("wandb:Settings",), "wandb.Settings"),
    "inr_xai": Package(
        ("inr_xai",),
        (
            "inr_xai.inr:INR",
            "inr_xai.area:AreaRule",
            "inr_xai.perturbation:Perturbation",
            "inr_xai.perturbation:Jitter",
            "inr_xai.perturbation:Reveal",
            "inr_xai.objective:Objective",
            "inr_xai.objective:ScoreFunction",
            "inr_xai.classifier.start:Start",
            "inr_xai.runs.store:Store",
            "inr_xai.callbacks:RunCallback",
            "inr_xai.loggers:WandbSettings",
            "inr_xai.classifier:FrozenClassifier",
            "inr_xai.classifier.demo_network:DemoNetwork",
            "inr_xai.classifier.context:ContextNetwork",
        ),
        "its data sets, classifiers, INRs, area rules, perturbations, objectives, scores, starts, stores, callbacks "
        "and WandbSettings",
        _of_ours,
    ),
}
"""Package -> what a configuration may build of it."""


def check_allow_targets(names: Sequence[str]) -> None:
    """Raises UserError unless every entry of `allow_targets` is the dotted path of a package, a module or an object."""
    for name in names:
        if not isinstance(name, str) or not is_path(name):
            raise UserError(
                f"allow_targets names {shown(name)}, which is no package; give packages, modules or full paths, such "
                "as allow_targets=[my_parts]"
            )


def is_path(path: Any) -> bool:
    """Returns whether a value is a dotted path of Python names."""
    return isinstance(path, str) and all(part.isidentifier() for part in path.split("."))


def is_within(path: str, names: Sequence[str]) -> bool:
    """Returns whether a dotted path is one of the names, or lies below one.

    >>> is_within("my_parts.nets.Net", ["my_parts"]), is_within("my_parts_of_others.Net", ["my_parts"])
    (True, False)
    """
    return any(path == name or path.startswith(f"{name}.") for name in names)


def check_paths(value: Any, key: str, allow: Sequence[str]) -> None:
    """Refuses every `_target_` in a resolved value whose package may not be imported, and imports nothing itself."""
    if isinstance(value, Mapping):
        if value.get("_target_") is not None:
            check_path(value["_target_"], f"{key}._target_", allow)
        for name, part in value.items():
            check_paths(part, f"{key}.{name}", allow)
    elif isinstance(value, list):
        for position, part in enumerate(value):
            check_paths(part, f"{key}[{position}]", allow)
    elif isinstance(value, str) and "${" in value:  # Hydra would resolve it once more, into what nobody has looked at
        raise UserError(f"{key}={shown(value)} holds ${{ after it has been resolved; write the value out")


def check_path(path: Any, key: str, allow: Sequence[str]) -> None:
    """Raises UserError unless a path leads into a package that may be imported; `key` names it in the refusal."""
    if not is_path(path):
        raise UserError(f"{key}={shown(path)} is not an import path; give one such as package.module.Class")
    first, *others = path.split(".")
    if is_within(path, allow):
        return
    if first not in PACKAGES:
        hint = did_you_mean(first, PACKAGES, cutoff=0.8)
        raise UserError(
            f"{key}={path} is code of the package {first}, which is not run unless you allow it: if you trust it, give "
            f"allow_targets=[{first}]{hint}"
        )
    if any(name.startswith("_") for name in others):
        raise UserError(f"{key}={path} names a private part of {first}; give a public class or function")


def locate(path: str, key: str, allow: Sequence[str] = ()) -> Callable[..., Any]:
    """Returns the class or function at a dotted path, which may be built.

    The path is followed as Hydra follows it: attributes first, then modules, from the front.

    Args:
        key: names the path in a refusal.
        allow: the packages, modules and full paths that the user allows.

    Raises:
        UserError: there is no such object, it cannot be called, or it is of a kind that is not built.
    """
    check_path(path, key, allow)
    first, *names = path.split(".")
    target: Any = _imported(first, f"{key}={path}")
    for position, name in enumerate(names, start=1):
        parent = ".".join((first, *names[: position - 1]))
        if isinstance(target, types.ModuleType) and not _may_enter(target, allow):
            raise UserError(_not_built(path, key, f"leads into the module {target.__name__}", first, allow))
        try:
            target = getattr(target, name)
        except AttributeError:
            target = _submodule(target, parent, name, f"{key}={path}", allow)
    if not callable(target):
        raise UserError(f"{key}={path} is a {type(target).__name__}; give a class or a function")
    reason = _reason_against(target, path, allow)
    if reason is not None:
        raise UserError(_not_built(path, key, reason, first, allow))
    if inspect.isabstract(target):
        raise UserError(f"{key}={path} is an abstract class; give one of its subclasses")
    return target


def is_a(target: Any, bases: Sequence[str]) -> bool:
    """Returns whether a target is a class and a subclass of one of these, given as module:name."""
    if not isinstance(target, type):
        return False
    pairs = [base.split(":") for base in bases]
    return any(issubclass(target, getattr(importlib.import_module(module), name)) for module, name in pairs)


def _imported(module: str, entry: str) -> types.ModuleType:
    """Imports a module that may be imported, and refuses the path that needs it if that fails."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{module}.".startswith(f"{missing}."):
            raise UserError(
                f"{entry} cannot be imported: there is no package {missing}; check the spelling or install it"
            ) from error
        if missing.split(".")[0] == module.split(".")[0]:
            raise  # a package that misses a part of its own is a bug
        raise UserError(f"{entry} cannot be imported: it needs the package {missing}; install {missing}") from error
    except ImportError as error:
        raise UserError(f"{entry} cannot be imported: {error}; mend {module}") from error


def _submodule(parent: Any, path: str, name: str, entry: str, allow: Sequence[str]) -> Any:
    """Imports a module that is no attribute of its package yet; refuses what is neither."""
    module = f"{path}.{name}"
    first = path.split(".")[0]
    importable = is_within(module, allow) or any(is_within(entry, [module]) for entry in allow)
    if not importable and first in PACKAGES:
        importable = is_within(module, PACKAGES[first].modules) or is_within(PACKAGES[first].modules[0], [module])
    if isinstance(parent, types.ModuleType) and importable:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                return _imported(module, entry)
        except ImportError:
            return _imported(module, entry)
    shown_parent = getattr(parent, "__name__", path)
    hint = did_you_mean(name, dir(parent), prefix=f"{shown_parent}.")
    raise UserError(f"{entry} cannot be imported: {shown_parent} has no {name}{hint or '; check the spelling'}")


def _may_enter(module: types.ModuleType, allow: Sequence[str]) -> bool:
    """Returns whether attributes of a module may be asked for: reading them can import other modules."""
    name = module.__name__
    return name.split(".")[0] in PACKAGES or is_within(name, allow) or any(is_within(path, [name]) for path in allow)


def _reason_against(target: Any, path: str, allow: Sequence[str]) -> str | None:
    """Returns why an object is not built; None if it may be."""
    module, name = str(getattr(target, "__module__", "")), str(getattr(target, "__qualname__", ""))
    home = f"{module}.{name}" if name else module
    if path in allow or is_within(home, allow):
        return None
    package = PACKAGES.get(module.split(".")[0])
    if package is None:
        return f"is {home}, defined elsewhere"
    plain_function = isinstance(target, types.FunctionType) and "." not in name
    if is_within(module, package.modules) and (
        is_a(target, package.classes)
        or (plain_function and package.functions(target, module, name))
        or (isinstance(target, type) and is_within(module, [DATA]) and callable(getattr(target, "load", None)))
    ):
        return None
    return f"is {home}, no part of a run"


def _not_built(path: str, key: str, reason: str, first: str, allow: Sequence[str]) -> str:
    """Words the refusal of an object: what is built instead, or how the user allows his own."""
    if first in PACKAGES and not is_within(path, allow):
        return f"{key}={path} {reason}, and is not run; of {first} a configuration may name {PACKAGES[first].what}"
    return f"{key}={path} {reason}, and is not run; allow_targets must name the package that defines it"
