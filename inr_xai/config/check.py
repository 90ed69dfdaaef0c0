"""Refuses a configuration that cannot work, before anything is downloaded, built or written.

Each refusal is one sentence with the key, its value and what would be right. Cheap checks come first: only the walk
over the targets imports the heavy packages.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inr_xai.columns import METRICS, SUMMARY_COLUMNS
from inr_xai.config.schema import COLLECTIONS, TARGETS, Lock, Schema, Shard
from inr_xai.config.sentences import sentence_of
from inr_xai.config.targets import argument, check_nodes_within, check_target, locate, takes
from inr_xai.errors import UserError, did_you_mean, listing, shown
from inr_xai.limits import (
    AUTO,
    MOST_AUDITED,
    Exclusion,
    Stop,
    check_audit,
    check_masks,
    check_nested,
    check_numbers,
    most_explanations,
)

TRAINER = {
    "accelerator": ("auto", "cpu", "gpu", "mps"),
    "devices": (1,),
    "precision": ("32-true", "64-true", "bf16-mixed"),
}
"""Option of the trainer -> the values that it may have."""
AUDIT = ("area", "control")
"""The options of an audit."""
CONTROL = ("targets", "limit", "every")
"""What an audit's wrong-target control sets of the data."""
ONE_DEVICE_HINT = "; a run uses one device: divide the images with -m shard.count=2 shard.index=0,1"
PLACEHOLDERS = {"root": "PATH", "checkpoint": "PATH", "name": "NAME", "_target_": "package.module.Class"}
"""What a refusal shows as the value of a key that is required."""


def check(cfg: DictConfig) -> None:
    """Raises UserError if the configuration cannot work."""
    _check_keys(cfg, Schema, "")
    _check_keys(cfg.exclusion, Exclusion, "exclusion.")
    _check_keys(cfg.stop, Stop, "stop.")
    _check_keys(cfg.shard, Shard, "shard.")
    _check_keys(cfg.lock, Lock, "lock.")
    plain = _resolved(cfg)
    _check_numbers(plain)
    check_masks(plain["areas"], plain["explanations"], Exclusion(**plain["exclusion"]), Stop(**plain["stop"]))
    _check_metric(plain)
    _check_evaluate(plain["evaluate"])
    _check_audit(plain)
    _check_trainer(plain["trainer"])
    _check_groups(plain)
    _check_control(plain)
    _check_nested(plain)
    _check_inr(plain["inr"])


def _check_keys(cfg: DictConfig, schema: type, prefix: str) -> None:
    """Refuses unknown and missing keys: Hydra checks those of files and overrides, not of `+key=value` and `~key`."""
    options, keys = [field.name for field in fields(schema)], [str(key) for key in cfg if key != "hydra"]
    for key in sorted(set(keys) - set(options)):
        hint = did_you_mean(key, options, prefix=prefix) or f"; the options are {listing(options)}"
        raise UserError(f"{prefix}{key}={shown(cfg._get_node(key))} is not an option{hint}")
    for key in sorted(set(options) - set(keys)):
        raise UserError(f"{prefix}{key} was deleted but is required: give {prefix}{key}=VALUE")


def _check_nothing_missing(cfg: DictConfig) -> None:
    """Refuses a configuration in which a value is still `???`."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        parent, _, name = key.rpartition(".")
        siblings = [str(other) for other in OmegaConf.select(cfg, parent) or () if other != name] if parent else []
        hint = did_you_mean(name, siblings, prefix=f"{parent}.")
        misspelt = hint.replace("; did you mean", "; is it misspelt as")
        raise UserError(f"{key} is required: {key}={PLACEHOLDERS.get(name, 'VALUE')}{misspelt}")


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Returns the configuration as plain values, or refuses it if a value is missing or cannot be resolved."""
    try:
        _check_nothing_missing(cfg)
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(sentence_of(error)) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _check_numbers(plain: Mapping[str, Any]) -> None:
    """Refuses numbers out of their ranges, and empty names."""
    groups = {f"{group}.{key}": value for group in ("exclusion", "shard") for key, value in plain[group].items()}
    check_numbers({**plain, **groups})
    index, count = plain["shard"]["index"], plain["shard"]["count"]
    if not 0 <= index < count:
        raise UserError(
            f"shard.index={index} is out of range; it must lie in 0..{count - 1}, below shard.count={count}"
        )
    for key in ("name", "out"):
        if not plain[key].strip():
            raise UserError(f"{key} is empty; give {key}=NAME")


def _most_explanations(plain: Mapping[str, Any]) -> int:
    """Returns the largest number of explanations that an image may have."""
    if plain["explanations"] != AUTO:
        return int(plain["explanations"])
    return most_explanations(Exclusion(**plain["exclusion"]), areas=plain["areas"], most=plain["stop"]["most"])


def _check_metric(plain: Mapping[str, Any]) -> None:
    """Refuses a `sweep_metric` that is no key of the run's summary, `<column>/k<k>` or `<column>/k<k>/a<area>`."""
    metric, areas = plain["sweep_metric"], [f"{area:g}" for area in plain["areas"]]
    match = re.fullmatch(r"(\w+)/k(\d+)(?:/a(.+))?", metric)
    if match is None:
        raise UserError(
            f"sweep_metric={metric} is not a key of the summary; give <column>/k<k> or <column>/k<k>/a<area>, such as "
            f"preservation_hard_mean_rel/k1 or preservation_hard_mean_rel/k1/a{areas[0]}"
        )
    column, explanation, area = match.groups()
    if column not in SUMMARY_COLUMNS:
        hint = did_you_mean(column, SUMMARY_COLUMNS) or f"; the columns are {listing(SUMMARY_COLUMNS)}"
        raise UserError(f"sweep_metric={metric} asks for {column}, which is not a column of the summary{hint}")
    if plain["explanations"] == AUTO and explanation != "1":
        raise UserError(
            f"sweep_metric={metric} asks for explanation {explanation}; with explanations=auto only the first is sure "
            "to be there: give a metric of k1"
        )
    if plain["explanations"] != AUTO and explanation not in map(str, range(1, plain["explanations"] + 1)):
        raise UserError(
            f"sweep_metric={metric} asks for explanation {explanation}; k must lie in 1..{plain['explanations']} "
            f"(explanations={plain['explanations']})"
        )
    if area not in (None, *areas):
        raise UserError(f"sweep_metric={metric} asks for area {area}; a must be one of {', '.join(areas)} (areas)")


def _check_evaluate(metrics: Any) -> None:
    """Refuses an option `evaluate` that names no metrics."""
    if metrics is None or metrics == "all":
        return
    if not isinstance(metrics, list) or not metrics:
        raise UserError(
            f"evaluate={shown(metrics)} must be a list of metrics such as [insertion_auc,road], all or null"
        )
    for name in metrics:
        if name not in METRICS:
            hint = did_you_mean(str(name), METRICS) or f"; the metrics are {listing(METRICS)}"
            raise UserError(f"evaluate names {shown(name)}, which is no metric{hint}")


def _check_audit(plain: Mapping[str, Any]) -> None:
    """Refuses an audit if its options are wrong, or if the run does not have the explanations that it needs."""
    audit = plain["audit"]
    if audit is None:
        return
    if not isinstance(audit, Mapping) or set(audit) != set(AUDIT):
        raise UserError(
            f"audit={shown(audit)} must hold {listing(AUDIT)}, such as {{area: 0.1, control: 20}}, or be null"
        )
    areas, explanations, mode = plain["areas"], plain["explanations"], plain["exclusion"]["mode"]
    check_audit(audit["area"], audit["control"], areas=areas, explanations=explanations, mode=mode)
    _check_number_of_explanations(plain)


def _check_number_of_explanations(plain: Mapping[str, Any]) -> None:
    """Refuses an audit of many explanations: it asks the classifier for every set of an image's explanations."""
    explanations, stop = plain["explanations"], plain["stop"]
    why = f"of K explanations 2^(K+1) sets are asked for; set {{}}={MOST_AUDITED} or less, or audit=null"
    if explanations != AUTO and explanations > MOST_AUDITED:
        raise UserError(
            f"audit takes at most {MOST_AUDITED} explanations of each image, not explanations={explanations}, as "
            + why.format("explanations")
        )
    if explanations == AUTO:
        most = _most_explanations(plain)
        if most > MOST_AUDITED:
            raise UserError(
                f"audit takes at most {MOST_AUDITED} explanations of each image, and explanations=auto with "
                f"stop.most={stop['most']} may find {most}, as {why.format('stop.most')}"
            )


def _check_trainer(trainer: Any) -> None:
    """Refuses options of the trainer that a run does not have, and several devices."""
    if not isinstance(trainer, Mapping):
        raise UserError(f"trainer={shown(trainer)} must hold {listing(TRAINER)}; use trainer=default")
    for key, value in trainer.items():
        if key not in TRAINER:
            hint = did_you_mean(key, TRAINER, prefix="trainer.")
            raise UserError(f"trainer.{key}={shown(value)} is not an option; trainer takes {listing(TRAINER)}{hint}")
        allowed = TRAINER[key]
        if value not in allowed or isinstance(value, bool):
            hint = ONE_DEVICE_HINT if key == "devices" else did_you_mean(str(value), map(str, allowed))
            raise UserError(f"trainer.{key}={shown(value)} must be {' or '.join(map(str, allowed))}{hint}")
    for key in TRAINER:
        if key not in trainer:
            raise UserError(f"trainer.{key} is required: trainer.{key}={TRAINER[key][0]}")


def _check_groups(plain: Mapping[str, Any]) -> None:
    """Refuses what cannot be imported or called in the groups whose nodes have a `_target_`."""
    for group in TARGETS:
        check_target(plain[group], group)
    for group in COLLECTIONS:
        entries = plain[group]
        if not isinstance(entries, Mapping):
            raise UserError(f"{group}={shown(entries)} must hold entries; write {group}.NAME=null to switch one off")
        for name, entry in entries.items():
            if entry is not None:
                check_target(entry, f"{group}.{name}")
            elif name not in COLLECTIONS[group]:
                names = COLLECTIONS[group]
                hint = did_you_mean(name, names, prefix=f"{group}.")
                raise UserError(
                    f"{group}.{name}=null switches off what is not there; {group} has {listing(names)}{hint}"
                )
    check_nodes_within(plain["trainer"], "trainer")


def _check_control(plain: Mapping[str, Any]) -> None:
    """Refuses an audit of data that its wrong-target control cannot explain: mosaics, for one, have fixed classes."""
    if plain["audit"] is None:
        return
    data = plain["data"]
    for name in CONTROL:
        if not takes(data, name):
            raise UserError(
                f"audit asks for data.{name}, which its wrong-target control sets, and "
                f"data._target_={data['_target_']} does not take it; choose other data, such as data=image_folder, or "
                "set audit=null"
            )


def _check_nested(plain: Mapping[str, Any]) -> None:
    """Refuses `nested=true` if larger masks cannot contain the smaller."""
    if plain["nested"]:
        conditioning, exclusion = argument(plain["inr"], "conditioning"), Exclusion(**plain["exclusion"])
        rule = locate(plain["area_rule"]["_target_"], "area_rule._target_")
        projected = "AreaProjection" in [kind.__name__ for kind in getattr(rule, "__mro__", ())]
        most = _most_explanations(plain)
        check_nested(conditioning, exclusion, areas=plain["areas"], explanations=most, projected=projected)


def _check_inr(node: Mapping[str, Any]) -> None:
    """Makes a network of one image, for the refusals of its constructor: they would else wait for the first fit."""
    if node.get("_partial_", False):
        import torch  # late: importing this module must not wait for it

        hydra.utils.instantiate(node, _convert_="all")([torch.Generator()])
