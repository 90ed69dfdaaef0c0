"""Every command and every piece of Python of the README and of docs/ is run, with folders that the test makes."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from safetensors.torch import save_file

import inr_xai
from inr_xai.explanation import explain as explain_module
from tests.helpers.pages import BLOCKS, PAGES, ROOT, Block, commands_of
from tests.helpers.program import has_plugin
from tests.helpers.runs import explain

SHORT = ["steps=1", "data.limit=1", "explanations=1", "areas=[0.1,0.2]", "logger=none", "callbacks.progress=null"]
VERBS = ("evaluate", "audit", "compare", "maps", "table", "report", "dashboard", "app", "verify", "status", "merge")
RUN_ELSEWHERE = {"docs/any_score.md": "test_any_score.py", "docs/metrics.md": "metrics/test_documentation.py"}
"""Pages whose Python another test runs, and asserts more of."""
LANGUAGES = {"bash", "python", "yaml", "text", ""}
MOST_NOT_RUN = 12
QUIET = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
"""One thread, and nothing for the account of whoever runs the tests."""
SMALLER = {"vit_tiny_patch16_224": "test_vit.r160_in1k", "pretrained=True": "pretrained=False"}
"""What the pages name, and what stands for it here: a small model of the same kind, with random weights."""


def runnable(language: str) -> list[Any]:
    """The blocks of a language that are run, without commands that stand in an earlier block too."""
    seen: set[str] = set()
    params = []
    for block in BLOCKS:
        if block.language != language or block.why:
            continue
        commands = [command for command in commands_of(block) if command not in seen or "RUN" in command]
        seen |= set(commands)
        if commands:
            params.append(pytest.param(block, commands, id=f"{block.page}: {commands[0][:60]}"))
    return params


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    left_out = [block for block in BLOCKS if block.why]
    assert len(left_out) <= MOST_NOT_RUN
    assert [block for block in left_out if len(block.why.split()) < 2] == []
    text = "".join(page.read_text() for page in PAGES)
    assert text.count("<!-- not run") == len(left_out)
    assert len(runnable("bash")) >= 15


def test_the_readme_is_a_first_page() -> None:
    assert len((ROOT / "README.md").read_bytes()) < 7000
    assert (ROOT / "docs" / "figures" / "chelsea.png").stat().st_size < 250_000


def test_what_the_readme_prints_is_what_its_picture_shows() -> None:
    """The program that makes the picture stores what `print(explanation)` says in it."""
    (printed,) = [block.code for block in BLOCKS if block.page == "README.md" and block.language == "text"]
    with Image.open(ROOT / "docs" / "figures" / "chelsea.png") as picture:
        assert printed.split() == picture.info["Description"].split()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        other = (page.parent / target).resolve() if target else page
        assert other.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), flags=re.M)
            assert anchor in {
                re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings
            }


def test_the_site_has_every_page() -> None:
    def files(entry: Any) -> Iterator[str]:
        parts = entry.values() if isinstance(entry, dict) else entry
        for part in [entry] if isinstance(entry, str) else parts:
            yield from [part] if isinstance(part, str) else files(part)

    shown = set(files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert shown - {"index.md", "contributing.md"} == {
        page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")
    }


def test_the_messages_of_troubleshooting_are_those_of_the_package() -> None:
    source = "".join(file.read_text() for file in sorted((ROOT / "inr_xai").rglob("*.py")))
    source = re.sub(r'"\n\s*f?"', "", source)  # sentences that go on in the next line
    messages = re.findall(r"^\*\*`(.*?)`\*\*", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.M)
    assert len(messages) >= 15
    for message in messages:
        parts = [re.escape(part) for part in message.split("...")]
        assert re.search(r"[^\n]{0,60}".join(parts), source), message


def test_make_has_the_targets_that_pages_name() -> None:
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.M)[0].split()
    named = {
        target
        for page in (*PAGES, ROOT / "CONTRIBUTING.md")
        for target in re.findall(r"(?:`|^)make ([a-z-]+)\b", page.read_text(), flags=re.M)
    }
    assert {"demo", "test", "docs"} <= named <= set(targets)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the placeholders of the pages stand for."""
    root = tmp_path_factory.mktemp("pages")
    noise = np.random.default_rng(0)
    for name in ("photo.jpg", "other.jpg", "PATH/n01440764/n01440764_0.JPEG", "PATH/n01440764/n01440764_1.JPEG"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (260, 300, 3), dtype=np.uint8)).save(root / name)
    save_file(torchvision.models.squeezenet1_0(weights=None).state_dict(), str(root / "FILE"))
    groups = [f"{index},{'round' if index % 2 else 'other'}" for index in range(8)]
    (root / "FILE.csv").write_text("\n".join(["class,group", *groups]))
    own = [block for block in BLOCKS if block.page == "docs/extending.md"]
    (root / "my_parts.py").write_text("\n\n".join(block.code for block in own if block.language == "python"))
    for block in own:
        if block.language == "yaml":
            file = root / block.code.partition("\n")[0].removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.code)
    return root


@pytest.fixture(scope="module")
def finished(world: Path) -> Path:
    """The folder with runs: RUN and RUN2, which differ in their seed."""
    for seed, name in enumerate(("RUN", "RUN2")):
        base = ["data.size=2", "steps=2", "logger=none", "trainer.accelerator=cpu", "callbacks.figures=null"]
        explain(world / name, f"seed={seed}", base=base)
    return world


@pytest.mark.parametrize(("block", "commands"), runnable("bash"))
@pytest.mark.slow
def test_commands_run(
    block: Block, commands: list[str], world: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "world"
    makes_run = any("out=RUN" in command for command in commands)
    if not makes_run and any(re.search(r"\bRUN\b", command) for command in commands):
        request.getfixturevalue("finished")
    left_out = shutil.ignore_patterns("RUN*", "outputs") if makes_run else None
    shutil.copytree(world, folder, ignore=left_out)
    for command in commands:
        if command.startswith("make "):  # .ci/run runs these
            continue
        for plugin, name in (("optuna", "hydra_optuna_sweeper"), ("launcher=local", "hydra_joblib_launcher")):
            if plugin in command and not has_plugin(name):
                pytest.skip(f"{name} is not installed (extra sweep)")
        if "gradcam" in command:
            pytest.importorskip("pytorch_grad_cam")
            pytest.importorskip("captum")
        ended = subprocess.run(
            arguments_of(command, folder),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, **QUIET, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        assert_done(command, folder, ended.stdout)


def smaller(code: str) -> str:
    """Returns code with `SMALLER` models."""
    for name, other in SMALLER.items():
        code = code.replace(name, other)
    return code


def arguments_of(command: str, folder: Path) -> list[str]:
    """Returns a command as this Python runs it, with options that make it short."""
    words = shlex.split(smaller(command))
    if words[:3] == ["python", "-m", "inr_xai.sweeps"]:
        multirun = ["-m", *SHORT, "seed=0,1", "callbacks.figures=null", f"out={folder / 'FOLDER'}"]
        subprocess.run([sys.executable, "-m", "inr_xai", *multirun], cwd=folder, check=True, capture_output=True)
        return [sys.executable, *words[1:]]
    assert words[:2] == ["python", "train.py"] or words[0] == "inr-xai", f"mark it as not run, or run it: {command}"
    words = words[2:] if words[0] == "python" else words[1:]
    program = [sys.executable, "-m", "inr_xai", *words]
    if words[:1] == ["audit"]:
        return [*program, "--control", "2"]
    if words[:1] == ["evaluate"] and "--metrics" not in words:
        return [*program, "--metrics", "deletion_auc,pointing_game,relevance_mass"]
    if words[:1] == ["compare"]:
        if "--table" in words:
            shutil.copytree(ROOT / "benchmarks" / "results", folder / "results", dirs_exist_ok=True)
        return [*program, "--results", "results", "--cache", "cache", "steps=1"]
    if words[:1] and words[0] in VERBS:
        return program
    return [*program, *shortened(words, folder)]


def shortened(words: list[str], folder: Path) -> list[str]:
    """Returns options that make a run short, and that need neither a network nor real weights."""
    line = " ".join(words)
    options = [option for option in SHORT if not (" steps=" in line and option.startswith("steps"))]
    if "explain" in words[:1]:
        options = ["steps=1", "areas=[0.1,0.2]", "callbacks.progress=null"]
        options += ["--explanations", "1", "--out", str(folder / "out")]
    if "checkpoint" not in line and ("imagenet_multi" in line or "explain" in words[:1]):
        options.append("classifier.pretrained=false")
    if "imagenet_multi" in line and "classifier" not in line:
        options.append("classifier.name=test_resnet.r160_in1k")
    if "_audit" in line:
        options = [option for option in options if not option.startswith("explanations")] + ["audit.control=1"]
    if "photo_audit" in line:
        options += ["classifier.pretrained=false", "classifier.name=resnet10t.c3_in1k"]
    if "shard.count" in line or "shards=" in line:
        options = [option for option in options if not option.startswith("data.limit")] + ["data.limit=2"]
    if "out=" not in line and "explain" not in words[:1]:
        options.append(f"out={folder / 'out'}")
    return options


def assert_done(command: str, folder: Path, printed: str) -> None:
    """Asserts that a command has left what it is for."""
    words = shlex.split(command)
    verb = words[1] if words[0] == "inr-xai" and words[1:2] and words[1] in VERBS else ""
    if verb == "compare":
        assert "| method | photos |" in printed
    elif verb == "evaluate":
        assert list((folder / "RUN" / "evaluation").glob("*.csv"))
    elif verb == "audit":
        assert (folder / "RUN" / "audit" / "report.md").read_text().startswith("# Audit")
    elif verb == "table":
        assert (folder / "paper.tex").read_text().startswith(r"\begin{tabular}")
    elif verb == "maps":
        assert list((folder / "RUN" / "maps" / "gradcam").iterdir())
    elif verb == "dashboard":
        assert "workspace" in json.loads((folder / "dashboard.json").read_text())
    elif verb == "report":
        file = Path(words[words.index("--out") + 1] if "--out" in words else printed.split()[0])
        assert (folder / file).read_text().startswith("<!doctype html>")
    elif verb == "verify":
        assert '"faults": []' in printed
    elif verb == "status":
        assert "state     finished\n" in printed or json.loads(printed)["state"] == "finished"
    elif "inr_xai.sweeps" in command:
        assert (folder / "FOLDER" / "sweep.md").is_file()
    else:
        done = folder / ("RUN" if "out=RUN" in command else "out")
        assert list(done.rglob("masks/**/*.safetensors"))
        shutil.rmtree(done) if done.name == "out" else None


def run_python(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs the blocks of a page one after another, in few steps and with random weights; returns what they define."""
    original = explain_module.explain
    monkeypatch.setattr(
        explain_module,
        "explain",
        lambda *args, **options: original(*args, **{"steps": 1, "progress": False, **options}),
    )
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    blocks = [block for block in BLOCKS if block.page == page and block.language == "python" and not block.why]
    for block in blocks:
        exec(smaller(block.code), names)
    assert blocks
    return names


def test_python_of_every_page_is_run() -> None:
    pages = {block.page for block in BLOCKS if block.language == "python" and not block.why}
    here = {
        "README.md",
        "docs/quickstart.md",
        "docs/runs.md",
        "docs/integrations.md",
        "docs/extending.md",
        "docs/report.md",
        "docs/several_explanations.md",
    }
    assert pages == here | set(RUN_ELSEWHERE)


@pytest.mark.slow
def test_python_of_the_readme_runs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = run_python("README.md", world, monkeypatch)["explanation"]
    assert isinstance(explanation, inr_xai.Explanation)
    torch.testing.assert_close(
        explanation.masks.float().mean((-2, -1)), torch.tensor([0.1, 0.2, 0.4]).expand(2, 3), atol=1e-3, rtol=0
    )
    assert (world / "explained.png").stat().st_size > 1000


@pytest.mark.slow
def test_python_of_the_quickstart_runs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_python("docs/quickstart.md", world, monkeypatch)
    assert names["mask"].shape == (448, 448)
    assert float(names["mask"].mean()) == pytest.approx(0.13, abs=1e-3)
    assert names["on_photo"].shape == (260, 300)
    assert torch.equal(names["again"].masks, inr_xai.load_explanation(world / "explained.safetensors").masks)
    assert [one.name for one in names["several"]] == ["photo", "other"]
    assert names["explanation"].target_name == "dog"
    expected = torch.tensor([0.1, 0.2]).expand(2, 2, 2)
    torch.testing.assert_close(names["masks"].mean((-2, -1)), expected, atol=1e-3, rtol=0)
    assert names["heatmap"].shape == (2, 1, 64, 64)


def test_python_of_runs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["steps=1", "logger=none", "trainer.accelerator=cpu", "callbacks.figures=null"]
    explain(tmp_path / "outputs" / "demo" / "RUN", "data.size=1", base=options)
    names = run_python("docs/runs.md", tmp_path, monkeypatch)
    assert names["mask"].shape == (448, 448)
    assert np.array_equal(names["masks"], names["explained"].masks.numpy())
    assert float(names["mask"].double().mean()) == pytest.approx(0.13, abs=1e-3)


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")  # of Lightning
@pytest.mark.slow
def test_python_of_integrations_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("captum")
    names = run_python("docs/integrations.md", tmp_path, monkeypatch)
    assert names["maps"].shape == names["smooth"].shape == (2, 3, 64, 64)
    assert names["heatmaps"].shape == (2, 64, 64)
    assert names["maps_of_quantus"].shape == (2, 1, 64, 64)
    assert names["watched"].passes == 2 * (10 * 4 + 1)
    assert list(tmp_path.rglob("*.png"))
    assert 0 <= float(names["value"]) <= 1


def test_python_of_report_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_python("docs/report.md", tmp_path, monkeypatch)
    page = (tmp_path / "page.html").read_text()
    assert names["explanation"].name in page


def test_python_of_several_explanations_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = run_python("docs/several_explanations.md", tmp_path, monkeypatch)["explanation"]
    assert explanation.masks.shape == (3, 2, 32, 32)
    assert len(explanation.carries) == 3
