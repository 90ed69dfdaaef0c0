"""The benchmark of a step: what it counts, how it times, how it fits exponents, and the report of its small sample."""

import doctest
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from inr_xai.classifier import FrozenClassifier
from inr_xai.fitting.fit import fit_masks
from inr_xai.method import Method
from tests.conftest import pictures
from tests.helpers.scripts import script_module, script_status

CPU = torch.device("cpu")
MODULES = (
    *("operator_count", "step", "step_cells", "step_counter", "step_exponents", "step_memory", "step_models"),
    *("step_peers", "step_startup", "step_table", "step_timer"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(script_module(name)).failed == 0


def counted(work: Callable[[], Any]) -> tuple[int, int, int]:
    """Returns the numbers of operators, of reads and of writes by the host."""
    with script_module("operator_count").OperatorCount() as count:
        work()
    return count.operators, count.reads, count.writes


def test_every_wait_of_the_host_is_counted() -> None:
    x, one = torch.arange(6.0), torch.tensor(1.0)
    mask = x > 2
    reads: list[Callable[[], Any]] = [
        lambda: one.item(),
        lambda: bool(one),
        lambda: int(one),
        lambda: mask.nonzero(),
        lambda: x[mask],
        lambda: x.masked_select(mask),
        lambda: torch.equal(x, x),
        lambda: x.unique(),
        lambda: x.clone().index_put_((mask,), one),
        lambda: torch.repeat_interleave(torch.tensor([1, 2])),
    ]
    assert [counted(work)[1] for work in reads] == [1] * len(reads)
    assert counted(lambda: x.tolist())[1] == 0  # of a tensor that is on the host already
    free: list[Callable[[], Any]] = [
        lambda: x.where(mask, one),
        lambda: x[torch.arange(2)],
        lambda: x.cumsum(0).to(torch.float64),
        lambda: x.repeat_interleave(2),
        lambda: x.roll(1),
    ]
    assert [counted(work)[1] for work in free] == [0] * len(free)
    with script_module("operator_count").OperatorCount() as count:
        x.view(2, 3).unsqueeze(0).permute(2, 1, 0).exp()
    assert (count.operators, count.views) == (4, 3)
    assert counted(lambda: torch.tensor([1.0, 2.0]))[2] == 1
    assert counted(lambda: torch.zeros(2))[2] == 0


def test_operators_of_the_backward_pass_and_of_the_optimiser_are_counted() -> None:
    weight = torch.ones(3, requires_grad=True)
    with script_module("operator_count").OperatorCount() as count:
        weight.exp().sum().backward()
    backward = {"ones_like": 1, "expand": 1, "mul": 1}  # of the root, of the sum and of exp
    assert dict(count.names) == {"exp": 1, "sum": 1} | backward | {"detach": count.names["detach"]}
    assert counted(torch.optim.Adam([weight]).step)[1] == 1, "the number of steps, once a parameter"
    assert counted(torch.optim.Adam([weight], fused=True).step)[1] == 0


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds by count: the first interval takes 1 second, the second 2 and so on."""
    seconds = itertools.count(1)

    class Counting:
        def __init__(self, device: torch.device) -> None:
            self.runs = False

        def start(self) -> None:
            assert not self.runs
            self.runs = True

        def stop(self) -> float:
            assert self.runs
            self.runs = False
            return float(next(seconds))

    monkeypatch.setattr(script_module("step_timer"), "Clock", Counting)


@pytest.mark.usefixtures("fake_clock")
def test_steps_and_passes_are_timed_in_turn(tiny: FrozenClassifier) -> None:
    timer = script_module("step_timer").StepTimer(CPU)
    steps = timer.steps_for(3, CPU)
    assert steps == 5
    method = Method(areas=(0.1, 0.2, 0.3), steps=steps, images_per_fit=2, masks_per_forward=4)
    fit_masks(pictures(2), torch.tensor([0, 1]), ["a", "b"], tiny, method, callbacks=[timer])
    assert (timer.steps, timer.passes) == ([1, 3, 5], [2, 4, 6])
    assert timer.copies == 6
    assert isinstance(tiny.model, nn.Module)
    assert not tiny.model._forward_pre_hooks, "the model is left as it was"
    # Two calls, of four copies and of two.
    parts = [torch.rand(count, 3, 24, 24) for count in (4, 2)]
    with tiny.frozen():
        assert timer.operators == sum(counted(lambda part=part: input_gradient(tiny.model, part))[0] for part in parts)


def input_gradient(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    inputs = images.detach().requires_grad_()
    return torch.autograd.grad(model(inputs).sum(), inputs)[0]


@pytest.mark.usefixtures("fake_clock")
def test_blocks_of_steps_are_timed_as_one(tiny: FrozenClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script_module("step_timer")
    monkeypatch.setitem(module.BLOCK, "cpu", 2)
    timer = module.StepTimer(CPU)
    method = Method(areas=(0.2,), steps=timer.steps_for(3, CPU))
    assert method.steps == 2 + 3 * 2
    fit_masks(pictures(1), torch.tensor([0]), ["a"], tiny, method, callbacks=[timer])
    assert (timer.steps, timer.passes) == ([0.5, 1.5, 2.5], [1, 2, 3])


def test_the_passes_have_the_tensors_the_layout_and_the_precision_of_the_step() -> None:
    passes, seen = script_module("step_timer").Passes(), []

    class Seen(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            returned = nn.functional.conv2d(inputs, torch.ones(1, 3, 1, 1))
            layout = inputs.is_contiguous(memory_format=torch.channels_last)
            seen.append((inputs.detach().clone(), layout, returned.dtype))
            return returned.mean((1, 2, 3))

    model = Seen()
    inputs = torch.rand(2, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    before = inputs.clone()
    with passes.recording(model), torch.autocast("cpu", torch.bfloat16):
        model(inputs)
    inputs.zero_()
    passes()
    assert [entry[1:] for entry in seen] == [(True, torch.bfloat16)] * 2
    assert torch.equal(seen[1][0], before)


def test_an_exponent_of_synthetic_timings_is_exact() -> None:
    exponents = script_module("step_exponents")
    for power in (0.0, 0.5, 1.0, 2.0, -1.0):
        sizes = [1, 8, 32]
        assert exponents.exponent(sizes, [0.7 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)
    # Of two points the slope is a quotient of logarithms; a third one in the middle, on neither side, leaves it.
    assert exponents.exponent([1, 2, 4], [1.0, 6.0, 9.0]) == pytest.approx(1.584962500721156)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_work_alone() -> None:
    peak_memory = script_module("step_memory").peak_memory
    floats = 2**20 // 4

    def work(mebibytes: int) -> None:
        torch.ones(mebibytes * floats)

    grown = [peak_memory(lambda size=size: work(size), CPU) for size in (64, 16)]
    if script_module("step_memory").forget_peak():
        assert grown == [pytest.approx(64, abs=2), pytest.approx(16, abs=2)]
    else:
        assert grown[0] == pytest.approx(64, abs=2)


def test_imports_are_summed_by_package() -> None:
    report = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   numpy.core
import time:       250 |        350 | numpy
a warning in between
import time:       500 |        850 | mine
"""
    rows = script_module("step_startup").imports_by_package(report)
    assert [row["package"] for row in rows] == ["mine", "numpy", "others"]
    assert [row["seconds"] for row in rows] == pytest.approx([0.0005, 0.00035, 0.0], abs=1e-12)


@pytest.mark.parametrize(
    "option", [["--models", "alexnet"], ["--images", "0"], ["--parts", "all"], ["--compile", "yes"]]
)
def test_unknown_names_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        script_module("step").parse(option)
    assert caught.value.code == 2
    assert option[1] in capsys.readouterr().err


def rows_of(markdown: str, title: str) -> Iterator[list[str]]:
    """Yields the cells of each line below the head of the first table of a section."""
    lines = itertools.dropwhile(lambda line: line != f"## {title}", markdown.splitlines())
    table = itertools.takewhile(
        lambda line: line.startswith("|"), itertools.dropwhile(lambda line: not line.startswith("|"), lines)
    )
    for line in itertools.islice(table, 2, None):
        yield [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.mark.slow
def test_the_sample_prints_and_stores_what_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torchray")
    monkeypatch.delenv("INR_XAI_DATA", raising=False)
    assert script_status(monkeypatch, "step", "--quick", "--cuda-graphs", "on", "--out", tmp_path) == 0
    (json_file,), (markdown_file,) = tmp_path.glob("*.json"), tmp_path.glob("*.md")
    found, markdown = json.loads(json_file.read_text()), markdown_file.read_text()
    assert capsys.readouterr().out == markdown
    assert markdown.startswith(f"# {found['device']}\n")
    assert found["options"] == {"compile": False, "cuda_graphs": True, "channels_last": None}
    assert "compile: off, cuda_graphs: on, channels_last: the classifier's own" in markdown.splitlines()[2]
    assert json_file.stem.endswith("cuda_graphs")
    assert json_file.stem == markdown_file.stem == script_module("step").file_name(found)

    cells, rows = found["cells"], list(rows_of(markdown, "Steps"))
    assert [(cell["model"], cell["weights"], cell["images"]) for cell in cells] == [
        ("squeezenet", "random", 1),
        ("squeezenet", "random", 2),
    ]
    areas = len(Method().areas)
    for cell, row in zip(cells, rows, strict=True):
        assert cell["copies"] == cell["images"] * areas
        assert cell["repeats"] == 3
        for key in ("step_ms", "passes_ms", "ratio", "ratio_all", "memory_mib", "photos_per_second"):
            assert cell[key] > 0
        for kind in ("step", "passes"):
            assert 0 < cell[f"{kind}_least_ms"] <= cell[f"{kind}_ms"]
        assert cell["ratio_least"] == pytest.approx(cell["step_least_ms"] / cell["passes_least_ms"])
        assert 0 < cell["our_operators"] <= cell["our_most_operators"]
        assert row[:3] == [cell["model"], cell["weights"], str(cell["images"])]
        assert row[3] == f"{cell['step_ms']:.1f} ({cell['step_least_ms']:.1f})"
        assert row[5].startswith(f"{cell['ratio']:.3f} ")
        assert row[6:10] == [
            str(cell["classifier_operators"]),
            f"{cell['our_operators']} ({cell['our_most_operators']})",
            str(cell["our_views"]),
            f"{cell['reads']:.2g}",
        ]
        assert row[11] == f"~{cell['photos_per_second']:.3g}", "of a sample no whole fit is done"
    # The classifier's operators do not depend on the number of images.
    assert cells[0]["classifier_operators"] == cells[1]["classifier_operators"] > 100

    assert [(row["method"], row["passes"]) for row in found["peers"]] == [("torchray", 3200), ("gradcam", 1)]
    assert [row[1:3] for row in rows_of(markdown, "Other methods")] == [["torchray", "3200"], ["gradcam", "1"]]
    assert all(row["seconds"] > 0 for row in found["peers"])
    names = ["images", "areas", "explanations", "resolution"]
    assert [row["of"] for row in found["exponents"]] == names
    assert [row[0] for row in rows_of(markdown, "Exponents")] == names
    exponent = script_module("step_exponents").exponent
    for row in found["exponents"]:
        assert len(row["sizes"]) >= 3
        assert row["exponent"] == pytest.approx(exponent(row["sizes"], row["seconds"]))
    phases = [row["phase"] for row in found["startup"]["phases"]]
    assert phases == [row[0] for row in rows_of(markdown, "Start")]
    assert [phases[0], phases[-1]] == ["Python", "second fit of one step"]
    assert {"torch", "inr_xai"} <= {row["package"] for row in found["startup"]["packages"]}
