"""The controls of a start: its program measures the demo, and its table has paired differences to the first start."""

import pytest
import torch

from tests.helpers.scripts import script_module


def test_rows_have_the_differences_to_the_first_start() -> None:
    program = script_module("start_controls")
    before, after = torch.tensor([0.1, 0.3, 0.2]), torch.tensor([0.3, 0.5, 0.4])
    none, gradient = program.rows_of(
        {"none": program.Controls(before, before, before), "gradient": program.Controls(before, after, before)}
    )
    assert (none["start"], none["images"], none["true_more"]) == ("none", 3, 0)
    assert gradient["true"] == pytest.approx(0.4)
    assert [gradient[f"true_more{end}"] for end in ("", "_low", "_high")] == pytest.approx([0.2] * 3)
    assert (gradient["mprt_more"], gradient["wrong_more"]) == (0, 0)


@pytest.mark.slow
def test_the_demo_is_measured_with_every_start(capsys: pytest.CaptureFixture[str]) -> None:
    program = script_module("start_controls")
    options = ["steps=2", "areas=[0.1]", "data.size=2", "trainer.accelerator=cpu", "--layers", "1"]
    assert program.main(options) == 0
    header, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert header == "| start | images | mprt | mprt more | true | true more | wrong | wrong more |"
    assert [line.split(" | ")[:2] for line in lines] == [["| none", "2"], ["| gradient", "2"]]
    assert program.main(["--starts", "maps", *options]) == 2
    assert "start.folder is required" in capsys.readouterr().err
