"""The errors that Hydra and OmegaConf raise for a user's mistake, as one sentence: what is wrong and what is right."""

import re
import typing
from concurrent.futures.process import BrokenProcessPool
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

from inr_xai.config.allowed import PACKAGES
from inr_xai.config.environment import without_secrets
from inr_xai.config.schema import Schema
from inr_xai.errors import RunFault, UserError, did_you_mean, is_out_of_memory, listing

TYPE_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list[float]: "a list of numbers such as [0.1,0.2]",
}
COMPOSITION_ERRORS = (
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
"""What Hydra says of a configuration that it cannot compose, as a pattern -> our sentence."""
LESS_MEMORY = "give a smaller masks_per_forward or image_batch_size, or a machine with more memory"


def sentence(error: BaseException) -> str | None:
    """Returns the sentence to print for an error; None if it is a bug, whose traceback is wanted.

    Values from environment variables are not shown in it.
    """
    text = _sentence(error)
    return None if text is None else without_secrets(text)


@singledispatch
def _sentence(error: BaseException) -> str | None:
    """Returns the sentence for an error of a kind that has none of its own."""
    if is_out_of_memory(error):
        return f"the memory is used up ({one_line(str(error)) or type(error).__name__}); {LESS_MEMORY}"
    return None


def is_fault(error: BaseException) -> bool:
    """Returns whether an error that has a sentence is a fault of the machine, and nothing that the user asked for."""
    cause = cause_of(error)
    if isinstance(cause, HydraException):  # one of them is an OSError
        return False
    return isinstance(cause, RunFault | OSError | BrokenProcessPool) or is_out_of_memory(cause)


def cause_of(error: BaseException) -> BaseException:
    """Returns the error behind those that Hydra and Python's logging wrap around the errors of what they build."""
    while error.__cause__ is not None and (
        isinstance(error, InstantiationException) or str(error).startswith("Unable to configure handler")
    ):
        error = error.__cause__
    return error


@_sentence.register
def _(error: UserError) -> str:
    return str(error)


@_sentence.register
def _(error: RunFault) -> str:
    return str(error)


@_sentence.register
def _(error: OSError) -> str:
    """Errors about one image never come here, and those of the user's files are refusals already."""
    where = f"{error.filename}: " if error.filename is not None else ""
    reason = error.strerror or one_line(str(error)) or type(error).__name__
    return f"{where}{reason}; mend that, then the same command continues (HYDRA_FULL_ERROR=1 shows where it happened)"


@_sentence.register
def _(error: BrokenProcessPool) -> str:
    return (
        "a process that worked on a job was killed (the system does so if the memory is used up), which has ended the "
        "other jobs too; the jobs that have not ended go on where they were"
    )


@_sentence.register
def _(error: HydraException) -> str:
    return one_line(str(error))


@_sentence.register
def _(error: YAMLError) -> str:
    return f"a configuration file is not valid YAML: {one_line(str(error))}"


@_sentence.register
def _(error: ValueError) -> str | None:
    """Hydra raises a bare ValueError for some overrides, such as `inr=null`: known by the module that raised it."""
    if isinstance(cause_of(error), OSError):  # a log file that cannot be opened
        return sentence(cause_of(error))
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = "" if innermost is None else innermost.tb_frame.f_globals.get("__name__", "")
    text = f"{one_line(str(error))}; a group takes a choice, such as inr=fourier"
    return text if module.startswith("hydra.") else None


@_sentence.register
def _(error: OverrideParseException) -> str:
    reason = one_line(error.message.removeprefix(f"Error parsing override '{error.override}'"))
    return f"{error.override} cannot be read as KEY=VALUE ({reason}); quote values that hold , = [ or a space"


@_sentence.register
def _(error: InstantiationException) -> str | None:
    """An error of a constructor is about its arguments, the user's mistake; in code of the user's own it is a bug.

    There a ValueError alone is about the arguments.
    """
    cause = cause_of(error)
    if isinstance(cause, InstantiationException | UserError):
        return one_line(str(cause))
    if is_fault(cause):
        return sentence(cause)
    key = re.search(r"full_key: (\S+)", str(error))
    prefix = f"{key[1]}: " if key else ""
    if isinstance(cause, ValueError):
        return f"{prefix}{one_line(str(cause))}"
    target = re.search(r"call to target '((\w+)[\w.]*)'", str(error))
    if target is None or target[2] not in PACKAGES or isinstance(cause, ImportError):
        return None
    reason = one_line(str(cause)) or type(cause).__name__
    return f"{prefix}{target[1]} does not take these values ({reason}); correct them"


@_sentence.register
def _(error: MissingConfigException) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return one_line(str(error))
    choices = sorted(error.options or [])
    plus = "+" if group in ("experiment", "ablation", "preset") else ""
    hint = did_you_mean(name, choices, prefix=f"{plus}{group}=")
    extra = "; others come with pip install 'inr-xai[sweep]'" if group.startswith("hydra/") else ""
    return f"{plus}{group}={name} is not one of the choices of {group}: {listing(choices) or 'none'}{extra}{hint}" + (
        _mentioned_file(one_line(str(error)))
    )


@_sentence.register
def _(error: ConfigCompositionException) -> str:
    text = one_line(str(error))
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException):
        entry = re.search(r"(?:Error merging override |To append to your config use \+)(.*)", text)
        return sentence_of(cause, entry=entry[1] if entry else "") + _mentioned_file(text)
    for pattern, wording in COMPOSITION_ERRORS:
        match = re.search(pattern, text)
        if match:
            return wording.format(*match.groups())
    return text


def sentence_of(error: OmegaConfBaseException, *, entry: str = "") -> str:
    """Returns an error of OmegaConf as one sentence.

    Args:
        entry: the option as the user wrote it, such as "steps=abc"; empty if unknown.
    """
    key = error.full_key or str(error.key or "")
    first = one_line(str(error).split("\n")[0])
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        parent, name, options = _nearest_node(key)
        hint = did_you_mean(name, options, prefix=parent) or f"; the options are {listing(options)}" if options else ""
        return f"{entry or key} is not an option{hint}"
    base = key.split("[")[0]
    expected = _expected_type(base)
    if isinstance(error, ValidationError) and expected:
        value = re.search(r"Value '(.*?)'", first)
        return f"{entry or (f'{key}={value[1]}' if value else key)} is of the wrong type; {base} must be {expected}"
    return f"{entry or key}: {first}" if entry or key else first


def one_line(text: str) -> str:
    """Returns the text without line breaks and without links to Hydra's manual.

    >>> one_line("Error\\n  in the file.\\nSee https://hydra.cc/docs for details")
    'Error in the file.'
    """
    return " ".join(re.sub(r"See https?://\S+( for \w+)*", "", text).split())


def _mentioned_file(text: str) -> str:
    """Says in which file Hydra found a mistake; empty if it was on the command line."""
    match = re.match(r"In '(\S+)':", text)
    return f" (in {match[1]}.yaml)" if match and match[1] not in ("config", "hydra/config") else ""


def _nearest_node(key: str) -> tuple[str, str, list[str]]:
    """Returns the part of a key that the schema has, with its dot, the unknown name after it, and the names there."""
    node: Any = Schema
    prefix = ""
    for name in key.split("."):
        types = {field.name: field.type for field in fields(node)} if is_dataclass(node) else {}
        if name not in types:
            return prefix, name, list(types)
        node, prefix = types[name], f"{prefix}{name}."
    return prefix, "", []


def _expected_type(key: str) -> str | None:
    """Says in words of what type the schema has the value of a key; None if it has no such key or any type."""
    node: Any = Schema
    for name in key.split("."):
        if not is_dataclass(node) or name not in (types := {field.name: field.type for field in fields(node)}):
            return None
        node = types[name]
    if is_dataclass(node):
        return "set by its parts " + listing(f"{key}.{field.name}" for field in fields(node))
    arguments = [part for part in typing.get_args(node) if part is not type(None)]
    optional = type(None) in typing.get_args(node)
    return TYPE_NAMES.get(node) or (f"{TYPE_NAMES.get(arguments[0])} or null" if optional else None)
