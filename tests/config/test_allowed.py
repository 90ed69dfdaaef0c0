"""Which targets are built: judged by the object, and nothing is imported before its package is known."""

import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from inr_xai.config.allowed import check_allow_targets, is_within, locate
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate, stored_configuration
from inr_xai.moved import MOVED
from tests.helpers.runs import ROOT

REFUSED = """
os.system subprocess.Popen builtins.eval builtins.exec functools.partial importlib.import_module shutil.rmtree
hydra.utils.instantiate hydra.utils.get_method hydra.utils.get_class
torch.os.system torch.sys.exit torch.importlib.import_module torch.hub.load torch.hub.load_state_dict_from_url
torch.load torch.jit.load torch.serialization.load torch.package.PackageImporter torch.utils.cpp_extension.load
torch.utils.bottleneck.__main__.main torch.compile torch.multiprocessing.Process torch.distributed.run.main
torch.nn.Module.load_state_dict torch.nn.Linear.forward torch.nn.functional.relu torch.fx.GraphModule torch.tensor
torchvision.models.os.system torchvision.io.read_file torchvision.datasets.ImageFolder
timm.models.os.system timm.models.load_checkpoint timm.data.create_dataset
lightning.os.popen lightning.Trainer lightning.pytorch.cli.LightningCLI torchmetrics.text.BERTScore
wandb.init wandb.sdk.wandb_run.os.system
inr_xai.cli.main inr_xai.cli.import_module inr_xai.cli.os.system inr_xai.__main__.main inr_xai.runner.explain
inr_xai.instantiate.instantiate inr_xai.config.targets.locate inr_xai.config.targets.hydra.utils.instantiate
inr_xai.runs.files.write_bytes inr_xai.classifier.checkpoint.read_state inr_xai.data.transform.read_image
inr_xai.classifier.from_timm.__globals__ inr_xai.inr.INR
""".split()  # noqa: SIM905
BUILT = """
torch.optim.Adam torch.optim.lr_scheduler.StepLR torch.nn.Linear torch.nn.Sequential
torchvision.models.resnet18 torchvision.models.get_model torchvision.models.resnet.ResNet
timm.create_model timm.models.resnet18 timm.models.vision_transformer.VisionTransformer
lightning.pytorch.callbacks.LambdaCallback torchmetrics.Accuracy
inr_xai.classifier.demo inr_xai.classifier.custom inr_xai.classifier.from_timm inr_xai.classifier.from_torchvision
inr_xai.classifier.from_hugging_face
inr_xai.classifier.context.shapes_in_context inr_xai.data.imagenet inr_xai.data.ImageFolder inr_xai.data.mosaic.Grid
inr_xai.inr.PyramidINR inr_xai.callbacks.Progress inr_xai.loggers.WandbSettings
""".split()  # noqa: SIM905


@pytest.mark.parametrize("path", REFUSED)
def test_what_runs_or_imports_things_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=rf"^x\._target_={path} ") as caught:
        locate(path, "x._target_")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [*BUILT, *(new for new in MOVED.values() if ".limits." not in new)])
def test_the_parts_of_a_run_are_built(path: str) -> None:
    assert callable(locate(path, "x._target_"))


def test_every_target_of_conf_is_built() -> None:
    targets = set()

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            targets.update([node["_target_"]] if isinstance(node.get("_target_"), str) else [])
            for part in node.values():
                collect(part)
        elif isinstance(node, list):
            for part in node:
                collect(part)

    for file in (ROOT / "conf").rglob("*.yaml"):
        content = OmegaConf.to_container(OmegaConf.load(file))
        if isinstance(content, dict):
            content.pop("hydra", None)
        collect(content)
    assert len(targets) > 30
    for target in sorted(targets - {"???"}):
        locate(target, "x._target_")


@pytest.fixture
def my_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package of the user, whose import leaves a file behind."""
    name = f"my_parts_{tmp_path.name[-6:].replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "import os\nfrom os import system\nfrom pathlib import Path\n"
        f"Path({str(tmp_path / 'imported')!r}).touch()\n"
        "class Part:\n    @classmethod\n    def make(cls):\n        return cls()\n"
        "def make_model():\n    return Part()\n"
    )
    (tmp_path / name / "deep.py").write_text("def make():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_package_is_imported_only_if_it_is_allowed(my_parts: str, tmp_path: Path) -> None:
    for allow in ([], ["my"], [my_parts[:-1]], ["other"]):
        with pytest.raises(UserError, match=rf"allow_targets=\[{my_parts}\]"):
            locate(f"{my_parts}.Part", "x._target_", allow)
    assert not (tmp_path / "imported").exists()
    assert my_parts not in sys.modules
    assert locate(f"{my_parts}.Part", "x._target_", [my_parts]).__name__ == "Part"
    assert (tmp_path / "imported").exists()


def test_what_is_allowed_is_what_the_package_defines(my_parts: str) -> None:
    for path in ("Part.make", "make_model", "deep.make"):
        assert callable(locate(f"{my_parts}.{path}", "x._target_", [my_parts]))
    for path in ("os.system", "system"):
        with pytest.raises(UserError, match="and is not run; allow_targets must name the package that defines it"):
            locate(f"{my_parts}.{path}", "x._target_", [my_parts])


def test_one_function_may_be_allowed_alone(my_parts: str) -> None:
    allow = [f"{my_parts}.make_model"]
    assert callable(locate(f"{my_parts}.make_model", "x._target_", allow))
    with pytest.raises(UserError, match="is code of the package"):
        locate(f"{my_parts}.Part", "x._target_", allow)


@pytest.mark.parametrize("names", [["*"], [""], ["my parts"], ["a..b"], [".a"]])
def test_what_is_allowed_must_be_a_name(names: list[str]) -> None:
    with pytest.raises(UserError, match=r"allow_targets names .*, which is no package"):
        check_allow_targets(names)
    check_allow_targets(["my_parts", "my_parts.make_model"])
    assert not is_within("my_parts_too.x", ["my_parts"])


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.getcwd"}]},
        {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": {"_target_": "os.getpid"}},
        {"_target_": "torch.nn.Identity", "deep": [[{"x": {"_target_": "os.getcwd"}}]]},
        {"_target_": "os.getcwd", "_partial_": True},
        {"_target_": ["os", "getcwd"]},
    ],
)
def test_every_target_inside_a_node_is_judged(node: dict[str, Any]) -> None:
    for config in (node, OmegaConf.create({"allow_targets": [], "x": node}).x):
        with pytest.raises(UserError, match="_target_"):
            instantiate(config)


def test_a_node_without_a_target_is_refused() -> None:
    with pytest.raises(UserError, match=r"^score=\{weight:1\} has no _target_"):
        instantiate(stored_configuration({"score": {"weight": 1}}, []).score)


def test_a_stored_run_cannot_allow_itself_anything(my_parts: str) -> None:
    stored = {"allow_targets": [my_parts], "score": {"_target_": f"{my_parts}.Part"}}
    cfg = stored_configuration(stored, [])
    with pytest.raises(
        UserError, match=rf"^score\._target_={my_parts}\.Part is code of .*allow_targets=\[{my_parts}\]"
    ):
        instantiate(cfg.score)
    allowed = stored_configuration({"score": stored["score"]}, [f"allow_targets=[{my_parts}]"])
    assert type(instantiate(allowed.score)).__name__ == "Part"


def test_a_text_that_becomes_a_node_later_is_refused() -> None:
    hidden = r"\${oc.create:{_target_:os.getcwd}}"
    cfg = OmegaConf.create({"x": {"_target_": "inr_xai.loggers.WandbSettings", "project": hidden}})
    with pytest.raises(UserError, match=r"^x\.project=.* holds \$\{"):
        instantiate(cfg.x)
    cfg.x.project = hidden[1:]
    with pytest.raises(UserError, match=r"^x\.project\._target_=os\.getcwd is code of the package os"):
        instantiate(cfg.x)
