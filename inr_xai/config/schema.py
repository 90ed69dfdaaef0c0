"""The schema: every key of a run with its type, so that Hydra refuses a misspelt key or a wrong type when composing.

The nodes of the groups are open, so that any argument of a target can be set without Hydra's plus sign: what they may
hold is read from the signatures of their targets (targets.py).
"""

import secrets
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from inr_xai.config.environment import note_environment
from inr_xai.config.shards import folder_of_job
from inr_xai.limits import Exclusion, Plateau, Stop

TARGETS = (
    "data",
    "classifier",
    "perturbation",
    "inr",
    "area_rule",
    "objective",
    "score",
    "optimizer",
    "jitter",
    "reveal",
    "start",
    "store",
)
"""The nodes with a `_target_`."""
COLLECTIONS = {"callbacks": ("progress", "figures", "curves", "scores", "evolution"), "logger": ("wandb",)}
"""The nodes whose entries have a `_target_` or are null, with the names of the entries in conf/."""


@dataclass
class Shard:
    """Which part of the images this run takes."""

    index: int = MISSING
    count: int = MISSING
    steal: bool = MISSING


@dataclass
class Lock:
    """What a run does if another process works on the same shard of the same folder."""

    wait: float | None = MISSING


@dataclass
class Outage:
    """What a run does if its data are out of reach."""

    wait: float = MISSING


@dataclass
class Schema:
    """The keys of a run, in the order in which they are printed. Their values stand in conf/."""

    name: str = MISSING
    out: str = MISSING
    areas: list[float] = MISSING
    explanations: Any = MISSING
    stop: Stop = field(default_factory=Stop)
    exclusion: Exclusion = field(default_factory=Exclusion)
    nested: bool = MISSING
    steps: int = MISSING
    stride: int = MISSING
    decay: float = MISSING
    plateau: Plateau = field(default_factory=Plateau)
    total_variation: float = MISSING
    binary: float = MISSING
    jitter: Any = field(default_factory=dict)
    reveal: Any = field(default_factory=dict)
    start: Any = field(default_factory=dict)
    seed: int = MISSING
    image_batch_size: int = MISSING
    masks_per_forward: int = MISSING
    images_per_fit: int | None = MISSING
    compile: bool = MISSING
    cuda_graphs: bool = MISSING
    channels_last: bool | None = MISSING
    threads: int | None = MISSING
    shards: int | None = MISSING
    shard: Shard = field(default_factory=Shard)
    lock: Lock = field(default_factory=Lock)
    outage: Outage = field(default_factory=Outage)
    checkpoint_every: float | None = MISSING
    allow_targets: list[str] = MISSING
    dry_run: bool = MISSING
    evaluate: Any = MISSING
    audit: Any = MISSING
    report: bool = MISSING
    sweep_metric: str = MISSING
    data: Any = field(default_factory=dict)
    classifier: Any = field(default_factory=dict)
    perturbation: Any = field(default_factory=dict)
    inr: Any = field(default_factory=dict)
    area_rule: Any = field(default_factory=dict)
    objective: Any = field(default_factory=dict)
    score: Any = field(default_factory=dict)
    optimizer: Any = field(default_factory=dict)
    trainer: Any = field(default_factory=dict)
    store: Any = field(default_factory=dict)
    callbacks: Any = field(default_factory=dict)
    logger: Any = field(default_factory=dict)


def register() -> None:
    """Makes the schema known to Hydra, and the resolvers of conf/.

    `${token:}` is six random hexadecimal digits, drawn once per configuration, and `${shards_folder:}` is the folder of
    a job that shares it (shards.py).
    """
    node = OmegaConf.structured(Schema)
    for group in (*TARGETS, *COLLECTIONS, "trainer"):
        OmegaConf.set_struct(node[group], False)
    for group in ("exclusion", "stop", "plateau"):
        OmegaConf.set_readonly(node[group], False)  # OmegaConf makes the nodes of frozen dataclasses read-only
    ConfigStore.instance().store("schema", node)
    OmegaConf.register_new_resolver("token", lambda: secrets.token_hex(3), use_cache=True, replace=True)
    OmegaConf.register_new_resolver("shards_folder", folder_of_job, replace=True)
    note_environment()
