"""Hydra's own part of a configuration, checked before Hydra builds from it: callbacks, plug-ins and log handlers.

Hydra builds them before it calls any callback, so the check stands where a configuration has just been composed.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from inr_xai.config.allowed import check_allow_targets, is_within, locate
from inr_xai.config.launchers import check_launcher, register_launchers
from inr_xai.errors import UserError

CALLBACKS = (
    "inr_xai.cli.Gate",
    "hydra.experimental.callbacks.LogJobReturnCallback",
    "hydra.experimental.callbacks.PickleJobInfoCallback",
)
SAMPLER = re.compile(r"optuna\.samplers\.[A-Z]\w*")
"""The parts of Hydra's plug-ins that are built; the plug-ins themselves must be known to Hydra."""
LOGGING = re.compile(r"logging\.(handlers\.)?\w*(Handler|Formatter|Filter)|colorlog\.ColoredFormatter")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


@contextmanager
def hydra_nodes_checked() -> Iterator[None]:
    """Lets every configuration that Hydra composes be checked before Hydra uses it; UserError comes out of Hydra.

    If it is of a multirun or chooses a launcher, the launchers have got our values before.
    """
    load = ConfigLoaderImpl.load_configuration

    @functools.wraps(load)
    def checked(self: Any, config_name: str | None, overrides: list[str], *rest: Any, **options: Any) -> DictConfig:
        _check_searchpath(overrides)
        # Hydra composes every run as a multirun first, without this check, to read nothing but its mode.
        is_multirun = RunMode.MULTIRUN in (*rest, *options.values()) and options.get("validate_sweep_overrides", True)
        if is_multirun or any("hydra/launcher" in given for given in overrides):
            register_launchers()  # single runs do not wait for files that they do not need
        cfg = load(self, config_name, overrides, *rest, **options)
        check_hydra_nodes(cfg)
        return cfg

    ConfigLoaderImpl.load_configuration = checked  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]


def check_hydra_nodes(cfg: DictConfig) -> None:
    """Raises UserError if Hydra would build or import what the configuration may not name."""
    allow = [str(name) for name in cfg.get("allow_targets") or []]
    check_allow_targets(allow)
    node = cfg.hydra
    for name in node.get("callbacks") or {}:
        _check_targets(_value(node.callbacks, name), f"hydra.callbacks.{name}", allow, known=CALLBACKS)
    for plugin in ("launcher", "sweeper"):
        for name in node.get(plugin) or {}:
            if name != "_target_":
                _check_targets(_value(node[plugin], name), f"hydra.{plugin}.{name}", allow)
    check_launcher({str(name): _value(node.launcher, name) for name in node.get("launcher") or {}})
    for name in ("hydra_logging", "job_logging"):
        _check_logging(_value(node, name), f"hydra.{name}", allow)


def _check_searchpath(overrides: Sequence[str]) -> None:
    """Refuses packages in Hydra's search path: looking for files in a package imports it."""
    for override in overrides:
        packages = re.findall(r"pkg://([\w.]+)", override) if "searchpath" in override else []
        for package in packages:
            raise UserError(f"{override} would import the package {package}; give its folder as file://PATH")


def _value(node: Any, name: Any) -> Any:
    """Returns a value of a node; its text if it cannot be resolved yet, as what Hydra knows only of a job."""
    try:
        return node[name]
    except OmegaConfBaseException:
        return str(node._get_node(name)._value())


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    """Returns the keys, or positions, of a node with their values; none of a plain value."""
    if isinstance(node, DictConfig):
        return [(name, _value(node, name)) for name in node]
    return [(place, _value(node, place)) for place in range(len(node))] if isinstance(node, ListConfig) else []


def _check_targets(node: Any, key: str, allow: Sequence[str], *, known: Sequence[str] = ()) -> None:
    """Refuses each `_target_` at any depth, but for the known ones, samplers, and what the user allows."""
    if isinstance(node, str) and node.startswith("${") and node.endswith("}"):
        raise UserError(
            f"{key}={node} is known only while the program runs, so that it cannot be checked; write it out"
        )
    for name, value in _pairs(node):
        if name != "_target_":
            _check_targets(value, f"{key}.{name}", allow)
        elif value not in known and not SAMPLER.fullmatch(str(value)):
            if not is_within(str(value), allow):
                raise UserError(
                    f"{key}._target_={value} is code that Hydra would run; allow_targets must name the package that "
                    "defines it"
                )
            locate(value, f"{key}._target_", allow)


def _check_logging(node: Any, key: str, allow: Sequence[str]) -> None:
    """Refuses classes, factories and objects of a logging configuration that are not of Python's logging."""
    for name, value in _pairs(node):
        inner = f"{key}.{name}"
        text = value if isinstance(value, str) else ""
        if name in ("class", "()") and not (LOGGING.fullmatch(str(value)) or is_within(str(value), allow)):
            raise UserError(f"{inner}={value} is code that Hydra would run; give a class of Python's logging")
        if text.startswith("ext://") and text not in STREAMS:
            raise UserError(f"{inner}={value} would be imported; give one of {', '.join(STREAMS)}")
        _check_logging(value, inner, allow)
