"""Values from environment variables: they may be secrets, so that files, logs and messages hold their names alone.

`${oc.env:NAME}` in a configuration works as always. What is stored and shown of it is the interpolation.
"""

import functools
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.resolvers import oc

PUBLIC = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_GROUP")
"""Variables that conf/ reads itself; what they say is shown."""
SHORTEST = 4
"""Characters of the shortest value that is taken out of a message; shorter ones are words and numbers like others."""
DIGITS = 6
_values: dict[str, str] = {}
"""Value of an environment variable that a configuration has asked for -> its name."""
_calls = [0]


@functools.wraps(oc.env)
def _noted(key: str, *default: Any) -> Any:
    """Is the resolver oc.env, and notes which values it has given."""
    _calls[0] += 1
    value = oc.env(key, *default)
    if isinstance(value, str) and len(value) >= SHORTEST and key not in PUBLIC and [value] != [*default]:
        _values[value] = key
    return value


def note_environment() -> None:
    """Lets `${oc.env:NAME}` note its values from now on."""
    OmegaConf.register_new_resolver("oc.env", _noted, replace=True)


def without_secrets(text: str) -> str:
    """Returns a text in which values from the environment are replaced by their names."""
    for value in sorted(_values, key=len, reverse=True):
        text = text.replace(value, f"${{oc.env:{_values[value]}}}")
    return text


def stored_form(cfg: DictConfig) -> dict[str, Any]:
    """Returns a configuration as plain values, resolved but for texts from the environment, which keep their names.

    Numbers from the environment are stored, since results depend on them. The paths `out` and `name` are stored with
    the names in place of the values.
    """
    note_environment()
    content = _stored(cfg)
    assert isinstance(content, dict)
    if isinstance(content.get("out"), str):
        content["out"] = without_secrets(content["out"])
    return content


def as_yaml(cfg: DictConfig) -> str:
    """Returns the stored form of a configuration as YAML, which is what is shown and logged of it."""
    return OmegaConf.to_yaml(OmegaConf.create(stored_form(cfg)))


def environment_digests(cfg: DictConfig) -> dict[str, str]:
    """Returns key -> a short hash of the value, for the values that `stored_form` leaves out.

    A run that is continued can so be told from one whose environment has changed, and the hash tells nobody the value.
    """
    note_environment()
    return dict(_digests(cfg, ""))


def _digests(node: Any, prefix: str) -> list[tuple[str, str]]:
    """Returns the pairs of `environment_digests`."""
    from inr_xai.seeding import sha256  # late: it brings torch

    found: list[tuple[str, str]] = []
    for name in _names(node):
        key, value = f"{prefix}{name}", node[name]
        if isinstance(value, DictConfig | ListConfig):
            found += _digests(value, f"{key}.")
        elif isinstance(value, str) and _is_from_environment(node, name):
            found.append((key, sha256(f"{key}={value}".encode()).hexdigest()[:DIGITS]))
    return found


def _stored(node: Container) -> Any:
    """Returns a dict or list of a configuration as `stored_form` does."""
    values: dict[Any, Any] = {}
    for name in _names(node):
        value = node[name]
        if isinstance(value, DictConfig | ListConfig):
            values[name] = _stored(value)
        elif isinstance(value, str) and _is_from_environment(node, name):
            values[name] = _raw(node, name)
        else:
            # What looks like an interpolation would become one when it is read again.
            values[name] = value.replace("${", r"\${") if isinstance(value, str) else value
    return list(values.values()) if isinstance(node, ListConfig) else {str(key): part for key, part in values.items()}


def _names(node: Any) -> list[Any]:
    """Returns the keys of a dict or the positions in a list; none of a value that is null."""
    if node._is_none():
        return []
    return list(range(len(node))) if isinstance(node, ListConfig) else list(node)


def _is_from_environment(node: Any, name: Any) -> bool:
    """Returns whether the value of a key was read from the environment, by whatever way through other keys."""
    before = _calls[0]
    _ = node[name]
    return _calls[0] > before


def _raw(node: Any, name: Any) -> str:
    """Returns the text of an interpolation as it was written."""
    return str(node._get_node(name)._value())
