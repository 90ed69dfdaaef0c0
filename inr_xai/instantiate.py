"""Builds the parts of a run from its configuration (data, classifier, method, callbacks), and what run.json holds."""

import logging
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inr_xai.callbacks.base import RunCallback
from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.config.check import check_trainer
from inr_xai.config.environment import environment_digests, note_environment
from inr_xai.config.targets import build
from inr_xai.data.outage import DataFolders
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.data.pools import is_synthetic
from inr_xai.draws import GENERATOR
from inr_xai.errors import RunFault, UserError, error_text
from inr_xai.fitting.trainers import device_of
from inr_xai.limits import RANGES, Exclusion, Plateau, Stop, check_numbers
from inr_xai.loggers import WandbSettings, environment
from inr_xai.loggers.explained import digests_of
from inr_xai.method import Method
from inr_xai.runs.folder import POOLS, RunFolder, is_free
from inr_xai.runs.load import Run
from inr_xai.runs.lock import folder_lock
from inr_xai.runs.shards import HASH, STRIDE
from inr_xai.types import Image, ImageData, TakesFolders

KEPT = (*POOLS, "split", "wandb_id", "wandb_name", "wandb_group", "seconds", "classifier_passes")
"""What run.json keeps of the session that began the run, and of those that ended."""
OUTAGE = 300.0
"""`outage.wait` of runs that had no such option."""
PACKAGES = ("inr-xai", "torch", "torchvision", "lightning", "timm", "wandb", "hydra-core")
log = logging.getLogger(__name__)


@dataclass
class Parts:
    """The parts that a run is made of.

    Args:
        trainer: options of Lightning's trainer.
        scoring: photos that stand around a mask while it is scored (the baseline `photo`).
        donors: photos whose pixels a fit may use; None if the perturbation uses none.
        wandb: the options of W&B; None if it is off.
        digests: hashes of what is explained, for W&B; empty if it is off.
    """

    data: ImageData
    classifier: FrozenClassifier
    method: Method
    trainer: dict[str, Any]
    device: torch.device
    callbacks: list[RunCallback]
    scoring: PhotoPool
    donors: PhotoPool | None
    wandb: WandbSettings | None
    digests: dict[str, str]


def instantiate(node: Any) -> Any:
    """Builds what a `_target_` node of a configuration describes, if the configuration's `allow_targets` allow it.

    Raises:
        UserError: a `_target_` in the node may not be built, or a constructor refuses its arguments.
    """
    if not isinstance(node, DictConfig):  # a node of run.json, whose interpolations are resolved now
        return build(OmegaConf.create(node), "node", [])
    allow = OmegaConf.select(node._get_root(), "allow_targets", default=[])
    return build(node, str(node._get_full_key("")), list(allow))


def build_data_and_classifier(cfg: DictConfig) -> tuple[ImageData, FrozenClassifier]:
    """Builds the data and the classifier, which tell each other about classes.

    Subfolders without known names are classes if the classifier has as many; a classifier that does not know the names
    of its classes has those of the data.
    """
    data: ImageData = instantiate(cfg.data)
    folders = getattr(data, "folders", None)
    if isinstance(folders, DataFolders):
        folders.wait = OmegaConf.select(cfg, "outage.wait", default=OUTAGE)
    classifier: FrozenClassifier = instantiate(cfg.classifier)
    if isinstance(data, TakesFolders) and data.may_take_folders:
        data.take_folders(classifier.count_classes())
    if classifier.class_names is None:
        classifier.class_names = data.class_names
    return data, classifier


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved configuration as plain dicts and lists."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def stored_configuration(config: Mapping[str, Any], overrides: Sequence[str]) -> DictConfig:
    """Returns a run's stored configuration with some values changed, given as KEY=VALUE.

    The run's own `allow_targets` do not count: the file may come from someone else. The overrides may allow targets.

    Raises:
        UserError: an override is not of this form, its key is not in the configuration, or a number is out of range.
    """
    note_environment()
    cfg = OmegaConf.create(dict(config) | {"allow_targets": []})
    OmegaConf.set_struct(cfg, True)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UserError(f"{override!r} is no option; give KEY=VALUE, such as data.root=PATH")
        parsed = OmegaConf.from_dotlist([f"value={value}"]).value
        try:
            OmegaConf.update(cfg, key, parsed)
        except (OmegaConfBaseException, ValueError) as error:  # a key such as areas.x, within a list, is a ValueError
            raise UserError(f"{override} names no option of the run; its run.json lists them") from error
    check_numbers({key: cfg[key] for key in cfg if key in RANGES})
    if "trainer" in cfg:
        check_trainer(OmegaConf.to_container(cfg.trainer) if OmegaConf.is_config(cfg.trainer) else cfg.trainer)
    return cfg


def wandb_settings(node: Any) -> WandbSettings | None:
    """Returns the options of W&B from the node `logger` of a configuration; None if W&B is off."""
    on = isinstance(node, Mapping) and node.get("wandb") is not None  # `logger=none`, said of a stored run, is text
    return instantiate(node["wandb"]) if on else None


def log_measured(
    kinds: Sequence[str],
    run: Run,
    cfg: DictConfig,
    parts: tuple[ImageData, FrozenClassifier] | None = None,
    *,
    digests: Mapping[str, str] | None = None,
    shard: tuple[int, int] | None = None,
    other: str | None = None,
) -> None:
    """Logs what was measured of a finished run to W&B, if the run's logger is on.

    It goes into the W&B run of the explanations, or beside it in its group if that is not one W&B run alone. Of workers
    that share a folder, the last one makes the W&B run of the whole. If the data or the classifier are not here, it has
    neither pictures nor digests. Whatever fails is a warning: what was measured is in the run's folder.

    Args:
        kinds: some of "explanations" (if no other W&B run has them), "evaluation" and "audit".
        cfg: the configuration of the run.
        parts: its data and classifier; None to build them.
        digests: hashes of these two; None to compute them.
        shard: the shard that was measured; None for the whole run.
        other: the name of what was measured if these are not the run's own explanations.
    """
    try:
        settings = wandb_settings(OmegaConf.select(cfg, "logger"))
        if settings is None or settings.mode == "disabled":
            return
        # Late: many runs have no W&B.
        from inr_xai.loggers.measured import OWN
        from inr_xai.loggers.results import log_beside, log_measurements

        load, digests = _what_was_explained(cfg, parts, digests)
        whole = OmegaConf.select(cfg, "shard.count", default=1) == 1 or OmegaConf.select(cfg, "shard.steal") is True
        if other is None and (shard is not None or whole):
            log_measurements(
                kinds,
                settings,
                run.folder,
                run.rows,
                load,
                digests=digests,
                shard=shard or (0, 1),
            )
            return
        for kind in kinds:
            log_beside(kind, other or "all", settings, run.folder, digests=digests, stem=other or OWN.stem)
    except Exception as error:
        log.warning("W&B does not get what was measured: %s", error_text(error), exc_info=True)


def _what_was_explained(
    cfg: DictConfig, parts: tuple[ImageData, FrozenClassifier] | None, digests: Mapping[str, str] | None
) -> tuple[Callable[[str], Image] | None, Mapping[str, str]]:
    """Returns what loads an image of a run, and hashes of what was explained; None and no hashes if it is not here."""
    try:
        data, classifier = parts or build_data_and_classifier(cfg)
    except (UserError, RunFault) as error:
        log.warning("W&B gets neither pictures nor digests of what was explained: %s", error)
        return None, {}
    if digests is None:
        digests = digests_of(data, classifier, cfg.classifier.get("checkpoint"))
    return lambda sample_id: data.load(sample_id, classifier.preprocessing).image, digests


def build_method(cfg: DictConfig) -> Method:
    """Builds the method that the configuration describes."""
    return Method(
        areas=tuple(cfg.areas),
        explanations=cfg.explanations,
        exclusion=Exclusion(**plain(cfg.exclusion)),
        stop=Stop(**plain(cfg.stop)),
        steps=cfg.steps,
        decay=cfg.decay,
        plateau=Plateau(**plain(cfg.plateau)),
        seed=cfg.seed,
        stride=cfg.stride,
        total_variation=cfg.total_variation,
        binary=cfg.binary,
        masks_per_forward=cfg.masks_per_forward,
        images_per_fit=cfg.images_per_fit,
        compile=cfg.compile,
        cuda_graphs=cfg.cuda_graphs,
        channels_last=cfg.channels_last,
        nested=cfg.nested,
        inr=instantiate(cfg.inr),
        area_rule=instantiate(cfg.area_rule),
        perturbation=instantiate(cfg.perturbation),
        objective=instantiate(cfg.objective),
        score=instantiate(cfg.score),
        jitter=instantiate(cfg.jitter),
        reveal=instantiate(cfg.reveal),
        optimizer=instantiate(cfg.optimizer),
        start=instantiate(cfg.start),
    )


def require_same_environment(folder: RunFolder, cfg: DictConfig) -> None:
    """Raises UserError if a text that the run took from the environment is another now, and would change its results.

    run.json holds a short hash of each, by its key.
    """
    now, stored = environment_digests(cfg), folder.read_run().get("environment", {})
    changed = [key for key in sorted(now) if stored.get(key, now[key]) != now[key] and not is_free(key)]
    if changed:
        raise UserError(
            f"{folder.path} holds a run whose {', '.join(changed)} had another value of the environment; set the "
            "variable to the old value to continue it, or give another out=PATH"
        )


def start_or_continue(folder: RunFolder, config: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Returns what run.json will hold: of a new run, or of the run to continue, which keeps its pools and W&B run.

    A new run that W&B's sweep agent has started has the id of the W&B run that the sweep waits for.
    """
    current = {
        "config": config,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seed": config["seed"],
        "classifier": config["classifier"],
        "threads": torch.get_num_threads(),
        "draws": GENERATOR,
    }
    if folder.exists():
        folder.tidy()
        stored = folder.read_run()
        if stored.get("threads", current["threads"]) != current["threads"]:
            log.warning(
                "%s was computed with %d threads and goes on with %d, so that single bits of further masks may differ; "
                "threads=%d keeps them",
                *(folder.path, stored["threads"], current["threads"], stored["threads"]),
            )
        return {"split": STRIDE} | stored | current
    pools = {"scoring_pool": list(data.scoring_ids), "donor_pool": list(data.donor_ids)}
    job = environment.agent()
    wandb_id = secrets.token_hex(4) if job is None else job.run_id
    return current | pools | {"split": HASH, "wandb_id": wandb_id, "seconds": 0.0, "classifier_passes": {}}


def begin_session(folder: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    """Writes run.json with one more session, and returns what it holds.

    Another shard may have begun the same run since `start_or_continue` looked: then it is continued.

    Raises:
        UserError: the other shard has another configuration, or other photos in its pools.
    """
    with folder_lock(folder.path):
        stored = folder.read_run() if folder.exists() else {}
        if stored:
            folder.require_same(facts["config"])
            if any(stored[pool] != facts[pool] for pool in POOLS):
                raise UserError(
                    f"{folder.path} has just been begun by another process, whose data have other photos than those of "
                    "this one; give the same command again, with the same data"
                )
        # Version 0.1.0 called the sessions sittings.
        sessions = stored.get("sittings", stored.get("sessions", 0)) + 1
        kept = {key: value for key, value in stored.items() if key in KEPT}
        facts = {key: value for key, value in (stored | facts | kept).items() if key != "sittings"}
        facts["sessions"] = sessions
        folder.write_run(facts)
    return facts


def update_run(folder: RunFolder, **changes: Any) -> None:
    """Changes some values of run.json, to which another shard may have written since."""
    with folder_lock(folder.path):
        folder.write_run(folder.read_run() | changes)


@contextmanager
def threads_of(cfg: DictConfig) -> Iterator[None]:
    """Lets PyTorch use as many threads of the CPU as the option `threads` says, and afterwards as many as before."""
    before, wanted = torch.get_num_threads(), OmegaConf.select(cfg, "threads")  # older runs have no such option
    if wanted is None:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assemble(cfg: DictConfig, data: ImageData, classifier: FrozenClassifier, facts: dict[str, Any]) -> Parts:
    """Builds everything that the loop over the images needs, and notes the device in the facts of run.json."""
    method = build_method(cfg)
    scoring = make_photo_pool(facts[POOLS[0]], data, classifier)
    donors = make_photo_pool(facts[POOLS[1]], data, classifier, warns=not scoring.reserve)  # once is enough
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    trainer = plain(cfg.trainer)
    device = device_of(trainer)
    facts["device"] = describe_device(device)
    wandb = wandb_settings(cfg.logger)
    digests = digests_of(data, classifier, cfg.classifier.get("checkpoint")) if wandb is not None else {}
    fit_donors = donors if method.perturbation.needs_donors else None
    return Parts(data, classifier, method, trainer, device, callbacks, scoring, fit_donors, wandb, digests)


def make_photo_pool(
    ids: Sequence[str], data: ImageData, classifier: FrozenClassifier, *, warns: bool = True
) -> PhotoPool:
    """Returns the photos of a pool; its synthetic images, which fill up the pool of a small folder, are the reserve."""
    reserve = [sample_id for sample_id in ids if is_synthetic(sample_id)]
    photos = [sample_id for sample_id in ids if not is_synthetic(sample_id)]
    return PhotoPool(photos, data, classifier.preprocessing, reserve, warns=warns)


def describe_device(device: torch.device) -> str:
    """Returns the device, with the name of its hardware if torch knows it."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
