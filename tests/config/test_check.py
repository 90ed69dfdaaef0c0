"""Every refusal of a configuration names the key, its value and what would be right; a right configuration passes."""

import copy
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from inr_xai.classifier.frozen import HEADS
from inr_xai.config import check, sentence
from inr_xai.config.check import CHOICES
from inr_xai.data.transform import RESAMPLING
from tests.helpers.runs import ROOT, configured, configured_fast

CONF = ROOT / "conf"


def refusal(act: Callable[[], Any]) -> str:
    """Returns the one sentence that the program would print, whichever layer refuses."""
    with pytest.raises((ValueError, HydraException, yaml.YAMLError)) as caught:
        act()
    text = sentence(caught.value)
    assert text is not None, repr(caught.value)
    assert "\n" not in text
    return text


def refusal_of(*overrides: str) -> str:
    """Returns the sentence that refuses these overrides."""
    return refusal(lambda: check(configured(*overrides)))


@pytest.fixture(scope="module")
def base() -> DictConfig:
    return configured()


def changed(base: DictConfig, override: str) -> DictConfig:
    """Returns what composing with the override gives, in a hundredth of the time."""
    key, _, value = override.lstrip("+").partition("=")
    cfg = copy.deepcopy(base)
    OmegaConf.update(cfg, key, yaml.safe_load(value), force_add=override.startswith("+"))
    return cfg


# Override -> what the sentence must hold: the key and its value, and what would be right.
AT_COMPOSE = {
    "stepz=3": ["stepz=3", "did you mean steps?"],
    "zzz=3": ["zzz=3", "the options are", "total_variation"],
    "inrr=fourier": ["inrr=fourier", "did you mean inr?"],
    "shard.indx=1": ["shard.indx=1", "did you mean shard.index?"],
    "exclusion.mod=penalty": ["exclusion.mod=penalty", "did you mean exclusion.mode?"],
    "steps=abc": ["steps=abc", "whole number"],
    "steps=1.5": ["steps=1.5", "whole number"],
    "steps=true": ["steps=true", "whole number"],
    "seed=0.5": ["seed=0.5", "whole number"],
    "total_variation=much": ["total_variation=much", "must be a number"],
    "nested=maybe": ["nested=maybe", "true or false"],
    "name=null": ["name=null", "must be text"],
    "areas=[0.1,abc]": ["areas=[0.1,abc]", "areas must be a list of numbers"],
    "areas=0.1": ["areas=0.1", "a list of numbers"],
    "areas=null": ["areas=null", "a list of numbers"],
    "exclusion.area=x": ["exclusion.area=x", "a number or null"],
    "exclusion=null": ["exclusion=null", "exclusion.mode"],
    "inr=forier": ["inr=forier", "fourier", "did you mean inr=fourier?"],
    "inr=null": ["a group takes a choice", "inr=fourier"],
    "sweep=area_rul": ["sweep=area_rul", "perturbation", "did you mean sweep=area_rule?"],
    "+experiment=imagenet_mult": ["+experiment=imagenet_mult", "did you mean +experiment=imagenet_multi?"],
    "ablation=default": ["ablation=default needs a plus sign: +ablation=default"],
    "preset=fast": ["preset=fast needs a plus sign: +preset=fast"],
    "+preset=fats": ["+preset=fats", "did you mean +preset=fast?"],
    "+ablation=soft_ends": ["+ablation=soft_ends", "did you mean +ablation=soft_end?"],
    "experiment=imagenet_multi": ["experiment=imagenet_multi needs a plus sign: +experiment=imagenet_multi"],
    "hydra/launcher=jobli": ["hydra/launcher=jobli", "basic", "inr-xai[sweep]"],
    "seed=1,2": ["seed=1,2", "add -m", "[a,b]"],
    "+steps=3": ["+steps=3", "write steps=3 without the plus sign"],
    "~stepz": ["stepz", "does not exist"],
    "areas=[0.1": ["areas=[0.1", "KEY=VALUE", "quote"],
    "stepz": ["stepz cannot be read as KEY=VALUE"],
}

VALUES = {
    "+stepz=3": ["stepz=3", "did you mean steps?"],
    "+shard.indx=1": ["shard.indx=1", "did you mean shard.index?"],
    "classifier.mean=[a,1]": ["classifier.mean=[a,1]", "must hold numbers"],
    "steps=0": ["steps=0", "at least 1"],
    "image_batch_size=0": ["image_batch_size=0", "at least 1"],
    "masks_per_forward=-2": ["masks_per_forward=-2", "at least 1"],
    "seed=-1": ["seed=-1", "at least 0"],
    "total_variation=-0.1": ["total_variation=-0.1", "at least 0"],
    "total_variation=.nan": ["total_variation=nan", "at least 0"],
    "exclusion.weight=-1": ["exclusion.weight=-1", "at least 0"],
    "shard.count=0": ["shard.count=0", "at least 1"],
    "shard.index=1": ["shard.index=1", "0..0", "shard.count=1"],
    "shard.index=-1": ["shard.index=-1", "0..0"],
    "name=''": ["name is empty"],
    "areas=[]": ["areas is empty", "areas=[0.1]"],
    "areas=[0.1,1.0]": ["areas", "(0, 1)", "got 1.0"],
    "areas=[0]": ["areas", "(0, 1)", "got 0.0"],
    "areas=[.nan]": ["areas", "(0, 1)", "got nan"],
    "areas=[0.1,0.2,0.1]": ["areas", "repeated", "0.1"],
    "explanations=0": ["explanations=0", "at least 1"],
    "explanations=many": ["explanations=many", "whole number", "explanations=auto"],
    "stop.share=2": ["stop.share=2", "[0, 1]"],
    "stop.most=0": ["stop.most=0", "at least 1"],
    "+stop.shar=0.2": ["stop.shar=0.2", "did you mean stop.share?"],
    "plateau.steps=0": ["plateau.steps=0", "whole number, at least 1"],
    "plateau.steps=100": ["plateau.steps=100 must be less than steps=100", "plateau.steps=99, or null"],
    "+plateau.stepz=5": ["plateau.stepz=5", "did you mean plateau.steps?"],
    "explanations=1.5": ["explanations=1.5", "whole number"],
    "explanations=true": ["explanations=true", "whole number"],
    "explanations=null": ["explanations=null", "whole number"],
    "explanations=6": ["6 explanations", "0.2", "explanations=5", "0.166"],
    "exclusion.area=0.6": ["2 explanations", "0.6", "explanations=1", "0.5"],
    "exclusion.area=1": ["exclusion.area", "(0, 1)", "got 1.0"],
    "exclusion.area=-0.1": ["exclusion.area", "got -0.1"],
    "exclusion.mode=avoid": ["exclusion.mode", "exclude or penalty", "'avoid'"],
    "sweep_metric=area_error": ["sweep_metric=area_error", "<column>/k<k>"],
    "sweep_metric=preservation_hard_men_rel/k1": ["not a column of the summary", "mean preservation_hard_mean_rel?"],
    "sweep_metric=accuracy/k1": ["asks for accuracy", "the columns are area_error, carries,", "deletion_hard_blur_rel"],
    "sweep_metric=area_error/k3": ["sweep_metric=area_error/k3", "explanation 3", "1..2", "explanations=2"],
    "sweep_metric=area_error/k1/a0.15": ["area 0.15", "one of 0.05, 0.1, 0.2 (areas)"],
    "sweep_metric=area_error/k1/a0.10": ["area 0.10", "one of 0.05, 0.1, 0.2 (areas)"],
    "callbacks.figure=null": ["callbacks.figure=null", "evolution, figures, progress", "callbacks.figures"],
    "trainer.max_steps=3": ["trainer.max_steps=3", "accelerator, devices, precision"],
    "trainer.devices=2": ["trainer.devices=2", "must be 1", "-m shards=2 hydra/launcher=local"],
    "trainer.devices=auto": ["trainer.devices=auto", "must be 1", "-m shards=2"],
    "trainer.precision=bf16": ["trainer.precision=bf16", "32-true or 64-true or bf16-mixed"],
    "trainer.accelerator=cpus": ["trainer.accelerator=cpus", "did you mean cpu?"],
    "trainer.presicion=32-true": ["trainer.presicion=32-true", "did you mean trainer.precision?"],
    "inr.gain=${nothing}": ["inr.gain", "nothing"],
}

TARGETS = {
    "inr.gian=8": ["inr.gian=8", "FeatureGridINR", "did you mean inr.gain?"],
    "+inr.gian=8": ["inr.gian=8", "did you mean inr.gain?"],
    "inr.gain=abc": ["inr.gain=abc", "must be float"],
    "inr._target_=inr_xai.inr.ForierINR": [
        "inr._target_=inr_xai.inr.ForierINR",
        "did you mean inr_xai.inr.FourierINR?",
    ],
    "inr._target_=nowhere.Net": ["inr._target_=nowhere.Net", "the package nowhere", "allow_targets=[nowhere]"],
    "inr._target_=null": ["inr=", "_target_", "inr._target_=package.Class"],
    "optimizer.learning_rate=1": ["optimizer.learning_rate=1", "torch.optim.Adam", "it takes", "lr"],
    "perturbation.parts.0.sigm=3": ["perturbation.parts[0].sigm=3", "did you mean perturbation.parts[0].sigma?"],
    "callbacks.figures._target_=null": ["callbacks.figures", "no _target_"],
    "callbacks.mine={every: 3}": ["callbacks.mine={every:3}", "callbacks.mine._target_=package.Class"],
    "callbacks.mine=3": ["callbacks.mine=3", "no _target_"],
    "jitter.shif=0.1": ["jitter.shif=0.1", "did you mean jitter.shift?"],
}


@pytest.mark.parametrize("override", AT_COMPOSE)
def test_refused_at_compose(override: str) -> None:
    text = refusal(lambda: configured(override))
    for part in AT_COMPOSE[override]:
        assert part in text


@pytest.mark.parametrize("override", VALUES)
def test_refused_value(base: DictConfig, override: str) -> None:
    text = refusal(lambda: check(changed(base, override)))
    for part in VALUES[override]:
        assert part in text


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("explanations=auto", "explanations=auto"),
        ("audit={area: 0.1, control: 20}", "audit"),
        ("data.targets=wrong", "data.targets=wrong"),
        ("evaluate=[road,average_drop]", "evaluate=[average_drop]"),
        ("evaluate=[average_gain]", "evaluate=[average_gain]"),
    ],
)
def test_what_needs_probabilities_is_refused_for_scores(base: DictConfig, override: str, what: str) -> None:
    check(changed(base, override))
    sentence = refusal(lambda: check(changed(changed(base, "+classifier.head=none"), override)))
    assert sentence.startswith(f"{what} needs probabilities of classes, and with classifier.head=none")


def test_an_audit_of_fits_that_start_from_stored_maps_is_refused(tmp_path: Path) -> None:
    text = refusal_of("start=maps", f"start.folder={tmp_path}", "audit={area: 0.1, control: 20}")
    assert text.startswith("audit explains classes that images do not show, and start=maps has no maps of these")


@pytest.mark.parametrize("name", ["mprt", "random_logit"])
@pytest.mark.slow
def test_metrics_that_refit_are_refused_if_fits_start_from_stored_maps(name: str, tmp_path: Path) -> None:
    cfg = configured("start=maps", f"start.folder={tmp_path}", "evaluate=[road]")
    check(cfg)
    text = refusal(lambda: check(changed(cfg, f"evaluate=[road,{name}]")))
    assert text.startswith(f"evaluate=[{name}] explains changed images, other classes or randomised models, and start=")
    check(changed(configured("start=gradient"), f"evaluate=[road,{name}]"))


def test_with_auto_a_metric_of_another_explanation_than_the_first_is_refused(base: DictConfig) -> None:
    cfg = changed(base, "explanations=auto")
    check(cfg)
    text = refusal(lambda: check(changed(cfg, "sweep_metric=area_error/k2")))
    assert text.startswith("sweep_metric=area_error/k2 asks for explanation 2; with explanations=auto only the first")


@pytest.mark.parametrize("override", TARGETS)
def test_refused_target(base: DictConfig, override: str) -> None:
    text = refusal(lambda: check(changed(base, override)))
    for part in TARGETS[override]:
        assert part in text


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["explanations=6", "exclusion.mode=penalty"],
        ["explanations=3", "areas=[0.1,0.3]", "exclusion.area=0"],
        ["explanations=3", f"areas=[{1 / 3}]"],
        ["explanations=auto", "areas=[0.3,0.9]", "stop.share=0", "stop.most=1"],
        ["areas=[0.2,0.1]", "sweep_metric=area_error/k2/a0.1"],
        ["nested=true", "inr.conditioning=none"],
        ["callbacks.progress=null", "callbacks.figures=null"],
        ["~callbacks.progress"],
        ["~callbacks", "~logger"],
        ["logger=none"],
        ["shard.count=3", "shard.index=2"],
        ["area_rule.standardise=true"],
        ["optimizer.weight_decay=0.1"],
        ["classifier=timm", "classifier.name=resnet18"],
        ["data=image_folder", "data.root=/photos", "data.targets=7"],
        ["classifier=custom", "classifier.model._target_=torchvision.models.resnet18", "classifier.model.weights=null"],
    ],
    ids=" ".join,
)
def test_accepted(overrides: list[str]) -> None:
    check(configured_fast(*overrides))


@pytest.mark.parametrize("file", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
@pytest.mark.slow
def test_every_experiment_passes(file: Path) -> None:
    cfg = configured(f"+experiment={file.stem}")
    for key in OmegaConf.missing_keys(cfg):
        OmegaConf.update(cfg, key, "given")
    check(cfg)


def _rounds() -> list[list[str]]:
    """Returns every choice of every group in few compositions: the first choice of each, then the second, and so on."""
    added = ("experiment", "ablation", "preset", "sweep")
    groups = [sorted(folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.name not in added]
    rounds = zip_longest(*(group for group in groups if group and group[0].parent.parent == CONF))
    return [[f"{file.parent.name}={file.stem}" for file in files if file] for files in rounds]


@pytest.mark.parametrize("choices", _rounds(), ids=" ".join)
@pytest.mark.slow
def test_every_choice_passes(choices: list[str]) -> None:
    cfg = configured(*choices)
    for key in OmegaConf.missing_keys(cfg):
        values = {"classifier.model._target_": "torchvision.models.resnet18", "start.folder": str(CONF)}
        OmegaConf.update(cfg, key, values.get(key, "given"))
    check(cfg)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stepz: 3", ["stepz", "did you mean steps?", "experiment/mine.yaml"]),
        ("steps: abc", ["steps=abc", "whole number", "experiment/mine.yaml"]),
        ("shard: {indx: 1}", ["shard.indx", "did you mean shard.index?", "experiment/mine.yaml"]),
        ("inr: {gian: 8}", ["inr.gian=8", "did you mean inr.gain?"]),
        ("inr: null", ["inr=null", "_target_"]),
        ("trainer: {acelerator: cpu}", ["trainer.acelerator=cpu", "did you mean trainer.accelerator?"]),
        ("callbacks: {figures: {evry: 3}}", ["callbacks.figures.evry=3"]),
        ("defaults: [{override /inr: forier}]", ["inr=forier", "did you mean inr=fourier?"]),
        ("callbacks: null", ["callbacks=null", "callbacks.NAME=null"]),
        ("steps: [", ["not valid YAML", "mine.yaml"]),
    ],
)
def test_refused_in_a_file(tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    message = refusal_of("+experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data=image_folder", ["data.root is required: data.root=PATH"]),
        ("classifier=custom", ["classifier.model._target_ is required", "package.module.Class"]),
        ("~steps", ["steps was deleted", "steps=VALUE"]),
    ],
)
def test_refused_if_something_is_missing(override: str, parts: list[str]) -> None:
    text = refusal_of(override)
    for part in parts:
        assert part in text


def test_a_misspelt_required_key_is_pointed_at() -> None:
    text = refusal_of("data=image_folder", "data.rot=/photos")
    assert text == "data.root is required: data.root=PATH; is it misspelt as data.rot?"


def test_check_does_not_change_the_configuration_or_draw_numbers() -> None:
    cfg = configured()
    before, state = OmegaConf.to_yaml(cfg), torch.get_rng_state()
    check(cfg)
    assert OmegaConf.to_yaml(cfg) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_two_compositions_do_not_share_a_folder() -> None:
    first, second = configured(), configured()
    assert first.out[-6:] != second.out[-6:]


def test_the_choices_that_are_refused_early_are_those_of_the_parts_themselves() -> None:
    assert CHOICES["classifier.head"] == tuple(HEADS)
    assert CHOICES["classifier.interpolation"] == tuple(RESAMPLING)
