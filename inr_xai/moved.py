"""The former paths of moved classes, by which finished runs and published rows still name them.

Whoever moves a class that a configuration, a masks file or a digest may name adds a line to MOVED. Stored paths are
replaced when they are read (`with_new_paths`, `new_path`); digests name a moved class by its old path (`old_path`). A
module that became a package, which goes on offering its classes, is named in ONCE_MODULES instead.
"""

import re
from collections.abc import Mapping
from typing import Any

MOVED = {
    "inr_xai.jitter.Jitter": "inr_xai.perturbation.Jitter",
    "inr_xai.reveal.Reveal": "inr_xai.perturbation.Reveal",
    "inr_xai.method.Exclusion": "inr_xai.limits.Exclusion",
    "inr_xai.method.Stop": "inr_xai.limits.Stop",
    "inr_xai.inr.pyramid.PyramidINR": "inr_xai.inr.grids.PyramidINR",
    "inr_xai.inr.grid.GridINR": "inr_xai.inr.grids.GridINR",
    "inr_xai.callbacks.WandbSettings": "inr_xai.loggers.WandbSettings",
    "inr_xai.callbacks.wandb_run.WandbSettings": "inr_xai.loggers.wandb_run.WandbSettings",
    "inr_xai.data.synthetic.Synthetic": "inr_xai.data.scenes.synthetic.Synthetic",
    "inr_xai.data.shapes_in_context.ShapesInContext": "inr_xai.data.ShapesInContext",
    "inr_xai.demo.DemoNetwork": "inr_xai.classifier.demo_network.DemoNetwork",
    "inr_xai.demo.demo_network": "inr_xai.classifier.demo_network.demo_network",
}
"""Old path -> new path."""
OLD = {new: old for old, new in MOVED.items()}
ONCE_MODULES = ("inr_xai.perturbation",)
"""Packages that were one module: stored paths stay right, and digests name their classes as that module had them."""


def new_path(path: str) -> str:
    """Returns the path that a class has now; a dot or a colon separates module and name.

    >>> new_path("inr_xai.inr.pyramid:PyramidINR"), new_path("torch.optim.Adam")
    ('inr_xai.inr.grids:PyramidINR', 'torch.optim.Adam')
    """
    return _replaced(path, MOVED)


def old_path(path: str) -> str:
    """Returns the path by which digests name a class.

    >>> old_path("inr_xai.perturbation.shifts.Jitter"), old_path("inr_xai.area.AreaProjection")
    ('inr_xai.jitter.Jitter', 'inr_xai.area.AreaProjection')
    """
    for package in ONCE_MODULES:
        path = re.sub(rf"^{re.escape(package)}\.\w+(?=[.:]\w+$)", package, path)
    return _replaced(path, OLD)


def with_new_paths(config: Any) -> Any:
    """Returns a stored configuration with the `_target_` paths of now.

    >>> with_new_paths({"jitter": {"_target_": "inr_xai.jitter.Jitter", "shift": 0.1}})
    {'jitter': {'_target_': 'inr_xai.perturbation.Jitter', 'shift': 0.1}}
    """
    if isinstance(config, list):
        return [with_new_paths(part) for part in config]
    if not isinstance(config, Mapping):
        return config
    node = {key: with_new_paths(value) for key, value in config.items()}
    if not isinstance(node.get("_target_"), str):
        return node
    choose_target = SPLIT.get(node["_target_"])
    return node | {"_target_": new_path(node["_target_"])} if choose_target is None else choose_target(node)


def with_old_paths(value: Any) -> Any:
    """Returns plain values in which moved classes have their old paths, for a digest.

    >>> with_old_paths({"class": "inr_xai.inr.grids:PyramidINR", "arguments": {"gain": 5.0}})
    {'class': 'inr_xai.inr.pyramid:PyramidINR', 'arguments': {'gain': 5.0}}
    """
    if isinstance(value, Mapping):
        return {key: with_old_paths(part) for key, part in value.items()}
    if isinstance(value, list):
        return [with_old_paths(part) for part in value]
    return old_path(value) if isinstance(value, str) else value


def _replaced(path: str, table: Mapping[str, str]) -> str:
    replaced = table.get(path.replace(":", "."), path)
    return ":".join(replaced.rsplit(".", 1)) if ":" in path and ":" not in replaced else replaced


def _scenes_or_photos(node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the target of now for one of version 0.1.0, which meant photos if it had a root, else drawn scenes."""
    if node.get("root") is None:
        target, options = "inr_xai.data.ShapesInContext", ("cues", "size", "seed")
    else:
        target, options = "inr_xai.data.ImageFolder", ("root", "classes", "segmentations")
    return {"_target_": target} | {key: node[key] for key in (*options, "targets", "limit", "every") if key in node}


def _scenes_or_timm(node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the target of now for one of version 0.1.0: a network of timm for photos, else that of drawn scenes."""
    if node.get("root") is None:
        return {
            "_target_": "inr_xai.classifier.context.shapes_in_context",
            "name": node.get("name") or node.get("cues"),
        }
    options = {key: node[key] for key in ("pretrained", "checkpoint", "head") if key in node}
    return {"_target_": "inr_xai.classifier.from_timm", "name": node.get("name") or "resnet50.tv_in1k"} | options


SPLIT = {
    "inr_xai.data.scenes_or_photos.scenes_or_photos": _scenes_or_photos,
    "inr_xai.classifier.scenes_or_timm.scenes_or_timm": _scenes_or_timm,
}
"""Former target -> what chooses, by the arguments, the one of two targets that replaces it."""
