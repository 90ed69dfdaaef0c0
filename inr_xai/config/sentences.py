"""What Hydra and OmegaConf raise for a user's mistake, as one sentence: what was found, and what would be right."""

import re
import sys
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import singledispatch
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError
from yaml import YAMLError  # type: ignore[import-untyped]

from inr_xai.config.schema import Schema
from inr_xai.errors import IMAGES_FAILED, REFUSED, UserError, did_you_mean, listing

WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list[float]: "a list of numbers such as [0.1,0.2]",
}
COMPOSITION = (
    (
        r"Could not override '(\S+)'\. No match in the defaults list.*append to your default list use \+(\S+)",
        "{1} needs a plus sign: +{1}",
    ),
    (
        r"Ambiguous value for argument '(.*?)' 1\.",
        "{0} gives several values; add -m for one job each, or write a list as key=[a,b]",
    ),
    (
        r"Could not append to config\. An item is already at '(\S+)'\..*remove \+ prefix: '(.*?)' Or",
        "+{1} is there already; write {1} without the plus sign",
    ),
)


def exit_status(work: Callable[[], int]) -> int:
    """Does the work of a program, which says how many images failed; its exit status. A refusal is printed.

    >>> exit_status(lambda: 0), exit_status(lambda: 4)
    (0, 3)
    """
    try:
        failures = work()
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        sys.stderr.write(f"error: {told}\n")
        return REFUSED
    return IMAGES_FAILED if failures else 0


@singledispatch
def sentence(error: BaseException) -> str | None:
    """The sentence to print for an error; None where it is no user's mistake and wants a traceback."""
    return None


@sentence.register
def _(error: UserError) -> str:
    return str(error)


@sentence.register
def _(error: HydraException) -> str:
    return one_line(str(error))


@sentence.register
def _(error: YAMLError) -> str:
    return f"a configuration file is not valid YAML: {one_line(str(error))}"


@sentence.register
def _(error: ValueError) -> str | None:
    """Hydra raises a bare ValueError for some overrides, such as `inr=null`."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    module = "" if step is None else step.tb_frame.f_globals.get("__name__", "")
    text = f"{one_line(str(error))}; a group takes a choice, such as inr=fourier"
    return text if module.startswith("hydra.") else None


@sentence.register
def _(error: OverrideParseException) -> str:
    reason = one_line(error.message.removeprefix(f"Error parsing override '{error.override}'"))
    return f"{error.override} cannot be read as KEY=VALUE ({reason}); quote values that hold , = [ or a space"


@sentence.register
def _(error: InstantiationException) -> str | None:
    """What a constructor says of its arguments (ValueError) is the user's; anything else is a bug."""
    cause: BaseException | None = error
    while isinstance(cause, InstantiationException):
        cause = cause.__cause__
    if cause is None or isinstance(cause, UserError):
        return one_line(str(cause or error))
    key = re.search(r"full_key: (\S+)", str(error))
    where = f"{key[1]}: " if key else ""
    return f"{where}{one_line(str(cause))}" if isinstance(cause, ValueError) else None


@sentence.register
def _(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return one_line(str(error))
    choices = sorted(error.options or [])
    plus = "+" if group in ("experiment", "ablation") else ""
    hint = did_you_mean(name, choices, prefix=f"{plus}{group}=")
    extra = "; others come with pip install 'inr-xai[sweep]'" if group.startswith("hydra/") else ""
    return f"{plus}{group}={name} is not one of the choices of {group}: {listing(choices) or 'none'}{extra}{hint}" + (
        _place(one_line(str(error)))
    )


@sentence.register
def _(error: ConfigCompositionException) -> str:
    text = one_line(str(error))
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException):
        entry = re.search(r"(?:Error merging override |To append to your config use \+)(.*)", text)
        return describe(cause, entry=entry[1] if entry else "") + _place(text)
    for pattern, wording in COMPOSITION:
        found = re.search(pattern, text)
        if found:
            return wording.format(*found.groups())
    return text


def describe(error: OmegaConfBaseException, *, entry: str = "") -> str:
    """OmegaConf's own error; `entry` is what the user wrote, where known."""
    key = error.full_key or str(error.key or "")
    first = one_line(str(error).split("\n")[0])
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        parent, name, known = _nearest(key)
        hint = did_you_mean(name, known, prefix=parent) or f"; the options are {listing(known)}" if known else ""
        return f"{entry or key} is not an option{hint}"
    base = key.split("[")[0]
    wanted = _wanted(base)
    if isinstance(error, ValidationError) and wanted:
        found = re.search(r"Value '(.*?)'", first)
        return f"{entry or (f'{key}={found[1]}' if found else key)} is of the wrong type; {base} must be {wanted}"
    return f"{entry or key}: {first}" if entry or key else first


def one_line(text: str) -> str:
    """The text without line breaks and links to Hydra's manual.

    >>> one_line("Error\\n  in the file.\\nSee https://hydra.cc/docs for details")
    'Error in the file.'
    """
    return " ".join(re.sub(r"See https?://\S+( for \w+)*", "", text).split())


def _place(text: str) -> str:
    """The file in which Hydra found a mistake; empty where it was the command line."""
    found = re.match(r"In '(\S+)':", text)
    return f" (in {found[1]}.yaml)" if found and found[1] not in ("config", "hydra/config") else ""


def _nearest(key: str) -> tuple[str, str, list[str]]:
    """The deepest known part of a key with its dot, the unknown name below it, and the names known there."""
    here: Any = Schema
    prefix = ""
    for name in key.split("."):
        known = {f.name: f.type for f in fields(here)} if is_dataclass(here) else {}
        if name not in known:
            return prefix, name, list(known)
        here, prefix = known[name], f"{prefix}{name}."
    return prefix, "", []


def _wanted(key: str) -> str | None:
    """What the schema asks for at a key, in words."""
    here: Any = Schema
    for name in key.split("."):
        if not is_dataclass(here) or name not in (types := {f.name: f.type for f in fields(here)}):
            return None
        here = types[name]
    if is_dataclass(here):
        return "set by its parts " + listing(f"{key}.{f.name}" for f in fields(here))
    arguments = [part for part in typing.get_args(here) if part is not type(None)]
    optional = type(None) in typing.get_args(here)
    return WORDS.get(here) or (f"{WORDS.get(arguments[0])} or null" if optional else None)
