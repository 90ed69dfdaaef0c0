"""Bad input to whole runs: an image that fails costs no other, and what cannot work is refused before any work."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from inr_xai import runner
from inr_xai.callbacks import RunCallback
from inr_xai.config import sentence
from inr_xai.data import ImageFolder, Synthetic
from inr_xai.errors import RunFault, UserError
from inr_xai.fitting.stack import NOT_FINITE
from inr_xai.runs.folder import RunFolder
from inr_xai.runs.masks_file import SampleRecord
from inr_xai.types import Preprocessing, Sample
from tests.helpers.program import status
from tests.helpers.runs import FOLDER, SHORT, TINY, explain, masks_of, messages, network, photos, same_masks, table

GOOD = ["a/good", *(f"b/{number}" for number in range(6))]
ONE = "explanations=1"


def mixed(root: Path) -> Path:
    """Writes seven good photos beside a truncated one, a text file and an empty file, and returns the folder."""
    photos(root, "a/good.jpg", *(f"{name}.png" for name in GOOD[1:]), "a/torn.jpg")
    torn = root / "a" / "torn.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    (root / "a" / "text.jpg").write_text("no picture")
    (root / "c").mkdir()
    (root / "c" / "empty.jpg").touch()
    return root


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "without images"])
def test_a_root_without_images_is_refused_and_leaves_nothing(tmp_path: Path, missing: bool) -> None:
    root = tmp_path / "root"
    if not missing:
        root.mkdir()
        (root / "notes.txt").touch()
    message = "does not exist" if missing else "holds no images"
    with pytest.raises(UserError, match=rf"data\.root='{root}' {message}"):
        explain(tmp_path / "out", f"data.root={root}", "data.targets=3", base=FOLDER)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_files_that_cannot_be_read_fail_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, out = mixed(tmp_path / "root"), tmp_path / "out"
    base = [*FOLDER, ONE, "perturbation=mixture_no_photos"]  # a single photo has no others for donors
    outcome = explain(out, f"data.root={root}", "data.targets=3", "image_batch_size=3", base=base)
    assert outcome.failures == 3
    failures = {row["image_id"]: row["reason"] for row in table(out, "failures.csv")}
    assert list(failures) == ["a/text", "a/torn", "c/empty"]
    for name, reason in failures.items():
        assert reason.startswith(f"cannot read the image '{root / name}.jpg'")
    assert {row["sample_id"] for row in table(out)} == set(masks_of(out)) == set(GOOD)
    assert RunFolder(out).read_summary()["failures"] == 3
    assert [line for line in messages(caplog.records) if line.startswith("a/torn failed: cannot read")]
    alone = photos(tmp_path / "alone", "a/good.jpg")
    assert explain(tmp_path / "second", f"data.root={alone}", "data.targets=3", base=base).failures == 0
    assert torch.equal(masks_of(tmp_path / "second")["a/good"], masks_of(out)["a/good"])


@pytest.mark.slow
def test_an_unexpected_error_while_loading_costs_that_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    explain(tmp_path / "whole")
    load, error = Synthetic.load, RuntimeError("the decoder\nbroke")

    def broken(data: Synthetic, sample_id: str, preprocessing: Preprocessing) -> Sample:
        if sample_id == "00001-square":
            raise error
        return load(data, sample_id, preprocessing)

    monkeypatch.setattr(Synthetic, "load", broken)
    assert explain(tmp_path / "broken", "image_batch_size=3").failures == 1
    reason = "RuntimeError: the decoder broke"
    assert (tmp_path / "broken" / "failures.csv").read_text() == f"image_id,reason\n00001-square,{reason}\n"
    masks, expected = masks_of(tmp_path / "broken"), masks_of(tmp_path / "whole")
    assert masks.keys() == expected.keys() - {"00001-square"}
    assert all(torch.equal(masks[name], expected[name]) for name in masks)
    (record,) = [record for record in caplog.records if record.getMessage() == f"00001-square failed: {reason}"]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


class MovesAway(RunCallback):
    """A callback that moves a folder away once an image is explained.

    Args:
        folder: its path.
    """

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def on_sample(self, record: SampleRecord, image: torch.Tensor) -> None:
        if self.folder.exists():
            self.folder.rename(self.folder.with_name("away"))


@pytest.mark.slow
def test_images_that_were_out_of_reach_are_listed_and_explained_when_the_root_is_back(tmp_path: Path) -> None:
    root = photos(tmp_path / "root", *(f"{number}.png" for number in range(8)))
    arguments = [f"data.root={root}", "data.targets=3", "data.limit=3", "outage.wait=0", "image_batch_size=1", ONE]
    explain(tmp_path / "whole", *arguments, base=FOLDER)
    moves = f"callbacks.scores={{_target_: {__name__}.MovesAway, folder: {root}}}"
    assert explain(tmp_path / "out", *arguments, moves, base=FOLDER).failures == 2
    failures = RunFolder(tmp_path / "out").read_failures()
    assert list(failures) == ["1", "2"]
    for name, reason in failures.items():
        assert reason.startswith(f"'{name}' was not read: the data are out of reach ('{root}' is gone or empty)")
    root.with_name("away").rename(root)
    assert explain(tmp_path / "out", *arguments, base=FOLDER).failures == 0
    assert same_masks(tmp_path / "out", tmp_path / "whole")
    assert table(tmp_path / "out") == table(tmp_path / "whole")


@pytest.mark.slow
def test_a_file_that_is_repaired_is_explained_when_the_run_is_continued(tmp_path: Path) -> None:
    root, out = mixed(tmp_path / "root"), tmp_path / "out"
    arguments = [f"data.root={root}", "data.targets=3", ONE]
    assert explain(out, *arguments, base=FOLDER).failures == 3
    photos(root, "a/text.jpg", "a/torn.jpg", "c/empty.jpg")
    assert explain(out, *arguments, base=FOLDER).failures == 0
    assert (out / "failures.csv").read_text() == "image_id,reason\n"
    assert sorted(masks_of(out)) == sorted([*GOOD, "a/text", "a/torn", "c/empty"])
    steps = [int(line["steps_done"]) for line in table(out, "curves.csv")]
    assert sorted(set(steps)) == steps


@pytest.mark.slow
@pytest.mark.usefixtures("command_line")
def test_exit_statuses_of_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three refusals end with 2, and a run with images that fail ends with 3."""
    mixed(tmp_path / "root")
    torch.save({"model": network()}, tmp_path / "whole.pth")
    for option in ("classifier.checkpoint=none.pth", "classifier.checkpoint=whole.pth", "data.targets=8"):
        assert status(*TINY, option, "out=refused") == 2
    assert status(*FOLDER, "data.root=root", "data.targets=3", "out=done", "data.limit=2", ONE) == 3
    printed = capsys.readouterr().err
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in printed
    assert errors[0] == "error: classifier.checkpoint='none.pth' is no file; give a local .safetensors or .pth file"
    assert errors[1].startswith("error: classifier.checkpoint='whole.pth' cannot be loaded safely (UnpicklingError: ")
    assert errors[2].startswith("error: class 8 does not exist: the classifier has 8 classes (0 to 7); ")
    assert {row["image_id"] for row in table(tmp_path / "done", "failures.csv")} == {"a/text"}
    assert list(masks_of(tmp_path / "done")) == ["a/good"]


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(torch.nn.Conv2d(3, 8, 5).state_dict() | {"fc.weight": torch.zeros(8, 2)}, file)
    with pytest.raises(
        UserError, match=r"is not one of Sequential: \d+ keys are missing .*give a checkpoint of"
    ) as caught:
        explain(tmp_path / "out", f"classifier.checkpoint={file}")
    assert "\n" not in str(sentence(caught.value))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_checkpoint_of_the_right_architecture_is_loaded(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"state_dict": {f"module.{name}": value / 2 for name, value in state.items()}}, tmp_path / "half.pth")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "same.pth")
    p_full = {}
    for name in ("half", "same"):
        explain(tmp_path / name, f"classifier.checkpoint={tmp_path / name}.pth", "data.limit=1", "explanations=1")
        p_full[name] = table(tmp_path / name)[0]["p_full"]
    explain(tmp_path / "none", "data.limit=1", "explanations=1")
    assert p_full["same"] == table(tmp_path / "none")[0]["p_full"] != p_full["half"]


@pytest.mark.slow
def test_a_class_that_does_not_exist_is_refused_and_can_be_corrected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"class 8 does not exist: the classifier has 8 classes \(0 to 7\)"):
        explain(tmp_path / "out", "data.targets=8")
    assert not (tmp_path / "out").exists()
    assert explain(tmp_path / "out", "data.targets=7", "data.limit=1").failures == 0
    assert {row["target"] for row in table(tmp_path / "out")} == {"7"}


@pytest.mark.slow
def test_a_label_outside_the_classes_fails_its_image(tmp_path: Path) -> None:
    root = photos(tmp_path / "root", *(f"cat/{number}.png" for number in range(8)), "dog/1.png", "emu/1.png")
    out = tmp_path / "out"
    classes = tmp_path / "classes.json"
    classes.write_text('{"cat": 0, "dog": 8}')
    outcome = explain(out, f"data.root={root}", f"data.classes={classes}", ONE, base=FOLDER)
    assert outcome.failures == 2
    failures = RunFolder(out).read_failures()
    assert failures["dog/1"].startswith("class 8 does not exist: the classifier has 8 classes (0 to 7)")
    assert "the folder of 'emu/1.png' is not among data.classes" in failures["emu/1"]
    assert list(masks_of(out)) == [f"cat/{number}" for number in range(8)]


@pytest.mark.slow
def test_an_image_without_finite_logits_fails_alone(tmp_path: Path) -> None:
    picky = ["classifier.model._target_=tests.helpers.runs.Picky", "classifier.model.image=00001-square"]
    assert explain(tmp_path / "picky", *picky, "callbacks=evolution", "callbacks.evolution.every=1").failures == 1
    assert RunFolder(tmp_path / "picky").read_failures() == {"00001-square": NOT_FINITE}
    explain(tmp_path / "well")
    masks, expected = masks_of(tmp_path / "picky"), masks_of(tmp_path / "well")
    assert masks.keys() == expected.keys() - {"00001-square"}
    assert all(torch.equal(masks[name], expected[name]) for name in masks)
    rows = [row for row in table(tmp_path / "well") if row["sample_id"] != "00001-square"]
    assert table(tmp_path / "picky") == rows


def test_a_run_in_which_every_image_fails_ends_well(tmp_path: Path) -> None:
    root = photos(tmp_path / "root", "cat/1.png")
    (root / "cat" / "1.png").write_bytes(b"")
    outcome = explain(tmp_path / "out", f"data.root={root}", "data.targets=0", base=FOLDER)
    assert (outcome.metric, outcome.failures) == (None, 1)
    assert RunFolder(tmp_path / "out").read_summary() == {"images": 0, "failures": 1}


def test_an_image_whose_class_has_probability_0_is_scored(tmp_path: Path) -> None:
    """The classifier gives the class exactly 0, in single precision."""
    certain = ["classifier.model._target_=tests.helpers.runs.certain", "data.targets=3", "data.size=1"]
    assert explain(tmp_path, *certain, base=[*TINY, *SHORT[:1]]).failures == 0
    assert {row["p_full"] for row in table(tmp_path)} == {"0.0"}


@pytest.mark.slow
def test_the_image_to_blame_for_a_fit_that_breaks_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    explain(tmp_path / "whole")
    fit = runner.fit_masks

    def broken(images: torch.Tensor, targets: torch.Tensor, image_ids: list[str], *others: Any, **options: Any) -> Any:
        if "00001-square" in image_ids:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return fit(images, targets, image_ids, *others, **options)

    monkeypatch.setattr(runner, "fit_masks", broken)
    outcome = explain(tmp_path / "broken", "image_batch_size=3", "images_per_fit=3")
    assert outcome.failures == 1
    reason = "the memory is used up (CUDA out of memory.); give a smaller masks_per_forward, or a smaller input"
    assert RunFolder(tmp_path / "broken").read_failures() == {"00001-square": reason}
    masks, expected = masks_of(tmp_path / "broken"), masks_of(tmp_path / "whole")
    assert masks.keys() == expected.keys() - {"00001-square"}
    assert all(torch.equal(masks[name], expected[name]) for name in masks)
    assert f"3 images failed together ({reason}); they are explained one by one" in messages(caplog.records)


class Clumsy(RunCallback):
    """A callback that fails at each image, and at the end."""

    def on_sample(self, record: SampleRecord, image: torch.Tensor) -> None:
        raise RuntimeError("no font")

    def on_run_end(self, *_: object) -> None:
        raise RuntimeError("no font")


@pytest.mark.slow
def test_a_callback_that_fails_costs_no_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    explain(tmp_path / "whole")
    outcome = explain(tmp_path / "out", f"callbacks.scores._target_={__name__}.Clumsy")
    assert outcome.failures == 0
    assert same_masks(tmp_path / "out", tmp_path / "whole")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    failed = "Clumsy failed (RuntimeError: no font); the masks are stored without it"
    assert [text for text in warnings if "Clumsy" in text] == [failed]


def test_an_image_that_cannot_be_stored_fails_alone_but_a_full_disk_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, errors = RunFolder.commit, {"00001-square": OSError(36, "File name too long", "x.safetensors")}

    def broken(folder: RunFolder, record: SampleRecord) -> None:
        if record.sample_id in errors:
            raise errors[record.sample_id]
        commit(folder, record)

    monkeypatch.setattr(RunFolder, "commit", broken)
    assert explain(tmp_path).failures == 1
    assert RunFolder(tmp_path).read_failures() == {"00001-square": "[Errno 36] File name too long: 'x.safetensors'"}
    assert sorted(masks_of(tmp_path)) == ["00000-disc", "00002-triangle"]
    errors["00001-square"] = RunFault("the disk is full; free space there")
    with pytest.raises(RunFault, match="the disk is full") as caught:
        explain(tmp_path)
    assert caught.value.__notes__ == ["2 of 3 images are done"]
    errors.clear()
    assert explain(tmp_path).failures == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("optimizer.lr=-1", r"optimizer.lr=-1 is out of range; it must be at least 0"),
        ("logger.wandb.mode=onlin", r"logger.wandb.mode is 'onlin'; choose offline"),
    ],
)
def test_a_late_refusal_leaves_no_run_behind(tmp_path: Path, option: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(tmp_path, "logger=wandb", option)
    assert not (tmp_path / "run.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the accelerator that must be missing")
def test_an_accelerator_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"trainer.accelerator=gpu is not available .* use trainer.accelerator=auto or cpu"
    ):
        explain(tmp_path, "trainer.accelerator=gpu")


def test_a_runs_own_folder_among_the_photos_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "run" / "masks").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    for name in ("photo.png", "run/figure.png"):
        Image.new("RGB", (30, 30), "red").save(tmp_path / name)
    assert ImageFolder(tmp_path, targets="predicted").ids == ["photo"]
