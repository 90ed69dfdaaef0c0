"""Refuses a configuration that cannot work, before anything is downloaded, built or written.

Each refusal is one sentence with the key, its value and what would be right. Cheap checks come first: only the walk
over the targets imports the heavy packages. The last of them build what costs nothing (`config/parts.py`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inr_xai.columns import METRICS, METRICS_OF_PROBABILITIES, METRICS_THAT_REFIT, SUMMARY_COLUMNS
from inr_xai.config.allowed import check_allow_targets, check_paths, locate
from inr_xai.config.parts import check_input_size, check_kind, check_parts, known_side
from inr_xai.config.places import check_place
from inr_xai.config.schema import COLLECTIONS, TARGETS, Lock, Outage, Schema, Shard
from inr_xai.config.sentences import sentence_of
from inr_xai.config.shards import without_multirun
from inr_xai.config.targets import argument, check_nodes_within, check_target, takes
from inr_xai.errors import UserError, did_you_mean, listing, shown
from inr_xai.limits import (
    AUTO,
    MOST_AUDITED,
    RANGES,
    Exclusion,
    Plateau,
    Stop,
    check_audit,
    check_masks,
    check_nested,
    check_numbers,
    check_plateau,
    check_statistics,
    height_and_width,
    most_explanations,
    require_probabilities,
    require_size,
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
ONE_DEVICE_HINT = "; a run uses one device: divide the images with -m shards=2 hydra/launcher=local"
CHOICES = {
    "classifier.head": ("softmax", "sigmoid", "probabilities", "none"),
    "classifier.interpolation": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "data.task": ("segmentation", "boxes"),
}
"""Option -> its values, of those that are else read late."""
LONGEST_NAME = 200
PLACEHOLDERS = {
    **dict.fromkeys(("root", "folder", "checkpoint"), "PATH"),
    "name": "NAME",
    "_target_": "package.module.Class",
}
"""What a refusal shows as the value of a key that is required."""


def check(cfg: DictConfig) -> None:
    """Raises UserError if the configuration cannot work."""
    _check_keys(cfg, Schema, "")
    _check_keys(cfg.exclusion, Exclusion, "exclusion.")
    _check_keys(cfg.stop, Stop, "stop.")
    _check_keys(cfg.plateau, Plateau, "plateau.")
    _check_keys(cfg.shard, Shard, "shard.")
    _check_keys(cfg.lock, Lock, "lock.")
    _check_keys(cfg.outage, Outage, "outage.")
    plain = _resolved(cfg)
    _check_numbers(plain)
    check_masks(plain["areas"], plain["explanations"], Exclusion(**plain["exclusion"]), Stop(**plain["stop"]))
    check_plateau(Plateau(**plain["plateau"]), steps=plain["steps"])
    side = known_side(plain)
    if side is not None:
        require_size((side, side), areas=plain["areas"], stride=plain["stride"])
    _check_metric(plain)
    _check_evaluate(plain["evaluate"])
    _check_audit(plain)
    _check_classifier(plain)
    check_trainer(plain["trainer"])
    check_allow_targets(plain["allow_targets"])
    for group in (*TARGETS, *COLLECTIONS):
        check_paths(plain[group], group, plain["allow_targets"])
    _check_groups(plain)
    _check_start(plain)
    _check_control(plain)
    _check_nested(plain)
    check_parts(plain)
    check_input_size(plain)


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
    names = ("exclusion", "shard", "lock", "outage")
    groups = {f"{group}.{key}": value for group in names for key, value in plain[group].items()}
    check_numbers({**plain, **groups})
    for group in (*TARGETS, *COLLECTIONS):
        for key, option, value in _arguments(plain[group], group, group):
            _check_number(key, option, value)
    index, count = plain["shard"]["index"], plain["shard"]["count"]
    if plain["shards"] not in (None, count):
        raise without_multirun(plain["shards"])
    if not 0 <= index < count:
        raise UserError(
            f"shard.index={index} is out of range; it must lie in 0..{count - 1}, below shard.count={count}"
        )
    if plain["shard"]["steal"] and count == 1:
        raise UserError("shard.steal=true needs other shards to take images of; give shard.count, or leave it out")
    for key, value in (("name", "NAME"), ("out", "PATH")):
        if not plain[key].strip():
            raise UserError(f"{key} is empty; give {key}={value}")
    check_name(plain["name"])
    check_place(plain["out"], "out")
    for key, choices in CHOICES.items():
        group, name = key.split(".")
        value = plain[group].get(name) if isinstance(plain[group], Mapping) else None
        if isinstance(value, str) and value not in choices:
            hint = did_you_mean(value, choices)
            raise UserError(f"{key}={value} is not allowed; choose one of {listing(choices)}{hint}")


def check_name(name: str) -> None:
    """Raises UserError unless the name of a run can be the name of a folder."""
    wrong = [character for character in name if character in "/\\" or not character.isprintable()]
    if wrong or name in (".", ".."):
        what = repr(wrong[0]) if wrong else "nothing but dots"
        raise UserError(
            f"name={name!r} holds {what}, and is the name of a folder; give letters, digits, dots or dashes"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(f"name={name[:20]}... has {len(name.encode())} bytes; give at most {LONGEST_NAME}")


def _arguments(node: Any, group: str, key: str) -> Iterator[tuple[str, str, Any]]:
    """Yields key, option and value of each argument of a target of ours or of torch, at any depth of a node."""
    if isinstance(node, list):
        for position, part in enumerate(node):
            yield from _arguments(part, group, f"{key}[{position}]")
    if isinstance(node, Mapping):
        ours = str(node.get("_target_")).split(".")[0] in ("inr_xai", "torch")
        for name, value in node.items():
            if ours:
                yield f"{key}.{name}", f"{group}.{name}", value
            yield from _arguments(value, group, f"{key}.{name}")


def _check_number(key: str, option: str, value: Any) -> None:
    """Refuses a number, or one in a list, that lies outside the range of its option."""
    if isinstance(value, str) and option in RANGES and option.startswith("optimizer."):
        raise UserError(f"{key}={value} is of the wrong type; it must be a number")
    values = value if isinstance(value, list) else [value]
    if option in RANGES and isinstance(value, list) and not all(type(number) in (int, float) for number in value):
        raise UserError(f"{key}={shown(value)} is of the wrong type; it must hold numbers")
    for number in values:
        if option in RANGES and type(number) in (int, type(RANGES[option][0])):  # the signature says what is no int
            try:
                check_numbers({option: number})
            except UserError as error:
                raise UserError(str(error).replace(f"{option}=", f"{key}=", 1)) from None


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


def _check_classifier(plain: Mapping[str, Any]) -> None:
    """Refuses sizes and statistics of an input that cannot be, and what needs probabilities if the head has none."""
    nodes = [plain[group] if isinstance(plain[group], Mapping) else {} for group in ("classifier", "data")]
    head, metrics = nodes[0].get("head"), plain["evaluate"] if isinstance(plain["evaluate"], list) else []
    if str(nodes[0].get("_target_")).startswith("inr_xai."):
        for name in ("input_size", "resize"):
            if nodes[0].get(name) is not None:
                height_and_width(nodes[0][name], name)
        if None not in (nodes[0].get("mean"), nodes[0].get("std")):
            check_statistics(nodes[0]["mean"], nodes[0]["std"])
    needed = {
        "audit": plain["audit"] is not None,
        "explanations=auto": plain["explanations"] == AUTO,
        "data.targets=wrong": nodes[1].get("targets") == "wrong",
    } | {f"evaluate=[{name}]": name in metrics for name in METRICS_OF_PROBABILITIES}
    for what, asked in needed.items():
        if asked:
            require_probabilities(head, what)


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


def check_trainer(trainer: Any) -> None:
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
    allow = plain["allow_targets"]
    for group in TARGETS:
        check_target(plain[group], group, allow)
        check_kind(plain[group], group, allow)
    for group in COLLECTIONS:
        entries = plain[group]
        if not isinstance(entries, Mapping):
            raise UserError(f"{group}={shown(entries)} must hold entries; write {group}.NAME=null to switch one off")
        for name, entry in entries.items():
            if entry is not None:
                check_target(entry, f"{group}.{name}", allow)
                check_kind(entry, f"{group}.{name}", allow)
            elif name not in COLLECTIONS[group]:
                names = COLLECTIONS[group]
                hint = did_you_mean(name, names, prefix=f"{group}.")
                raise UserError(
                    f"{group}.{name}=null switches off what is not there; {group} has {listing(names)}{hint}"
                )
    check_nodes_within(plain["trainer"], "trainer", allow)


def _check_start(plain: Mapping[str, Any]) -> None:
    """Refuses what explains other classes, images or models, if a start has maps of the run's own alone."""
    start = locate(plain["start"]["_target_"], "start._target_", plain["allow_targets"])
    if getattr(start, "explains_any_class", True):
        return
    if plain["audit"] is not None:
        raise UserError(
            "audit explains classes that images do not show, and start=maps has no maps of these; choose start=none or "
            "start=gradient, or set audit=null"
        )
    for name in METRICS_THAT_REFIT:
        if isinstance(plain["evaluate"], list) and name in plain["evaluate"]:
            raise UserError(
                f"evaluate=[{name}] explains changed images, other classes or randomised models, and start=maps has no "
                "maps of these; choose start=none or start=gradient, or leave it out of evaluate"
            )


def _check_control(plain: Mapping[str, Any]) -> None:
    """Refuses an audit whose wrong-target control is impossible, such as of mosaics, whose classes are fixed."""
    if plain["audit"] is None:
        return
    data = plain["data"]
    for name in CONTROL:
        if not takes(data, name, plain["allow_targets"]):
            raise UserError(
                f"audit asks for data.{name}, which its wrong-target control sets, and "
                f"data._target_={data['_target_']} does not take it; choose other data, such as data=image_folder, or "
                "set audit=null"
            )


def _check_nested(plain: Mapping[str, Any]) -> None:
    """Refuses `nested=true` if larger masks cannot contain the smaller."""
    if plain["nested"]:
        allow, exclusion = plain["allow_targets"], Exclusion(**plain["exclusion"])
        conditioning = argument(plain["inr"], "conditioning", allow)
        rule = locate(plain["area_rule"]["_target_"], "area_rule._target_", allow)
        projected = "AreaProjection" in [kind.__name__ for kind in getattr(rule, "__mro__", ())]
        most = _most_explanations(plain)
        check_nested(conditioning, exclusion, areas=plain["areas"], explanations=most, projected=projected)
