"""An image's plays of finished runs: the run's own scores, kept on disk, made anew where their masks have changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import inr_xai
from inr_xai.audit import measure as auditing
from inr_xai.audit.estimates import AuditedImage, grown
from inr_xai.audit.measure import AuditContext, measure_image, regions_of
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate, photo_pool
from inr_xai.runs.load import Explained, Run
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.types import Preprocessing, Sample
from tests.helpers.games import CHEAP
from tests.helpers.runs import TINY, explain, network

ID = "00000-disc"
AREA = 0.1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of an image that differ in their seed and in how many explanations it has."""
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    explain(folders[0], "seed=1", "explanations=3", "data.limit=1", *CHEAP, base=TINY)
    explain(folders[1], "seed=2", "explanations=2", "data.limit=1", *CHEAP, base=TINY)
    return [inr_xai.load(folder) for folder in folders]


@pytest.fixture(scope="module")
def bench(finished: list[Run]) -> AuditContext:
    cfg = configuration(finished[0], [])
    data, classifier = instantiate(cfg.data), instantiate(cfg.classifier)
    pool = photo_pool(finished[0].info["scoring_pool"], data, classifier)
    return AuditContext(data, classifier, pool, torch.device("cpu"), seed=cfg.seed)


class Changed(Run):
    """A run in whose image something is another."""

    def __init__(self, run: Run, **changes: object):
        self._ids = [ID]
        self.found = Explained(replace(run[ID].record, **changes))  # type: ignore[arg-type]

    def __getitem__(self, sample_id: str) -> Explained:
        return self.found


def test_values_are_the_scores_of_the_run(finished: list[Run], bench: AuditContext, tmp_path: Path) -> None:
    """The run itself has kept and removed the same hard masks under the same draws."""
    for area in (0.1, 0.3):
        (found,) = measure_image(finished[:1], ID, bench, area=area, cache=tmp_path).plays
        rows = [row for row in finished[0][ID].rows if row["area"] == area]
        assert len(rows) == found.regions == 3
        for k, row in enumerate(rows, start=1):
            values = {
                "preservation_hard": found.alone(k),
                "deletion_hard": found.without(k),
                "union_hard": found.union(k),
                "remaining_hard": found.remaining(k),
            }
            for game, value in values.items():
                expected = [row[f"{game}_{name}"] for name in ("blur", "grey", "noise", "photo")]
                assert value.tolist() == pytest.approx(expected, abs=1e-5)
            assert found.whole.tolist() == pytest.approx([row["p_full"]] * 4, abs=1e-5)


def test_regions_are_disjoint_and_of_the_area(finished: list[Run], bench: AuditContext) -> None:
    regions = regions_of(finished[0][ID], AREA, seed=1)
    assert regions.sum((1, 2)).tolist() == [57, 57, 57]  # floor(0.1 * 24 * 24)
    assert int(regions.sum(0).max()) == 1
    masks = finished[0][ID].masks[:, 0]
    for region, mask in zip(regions, masks, strict=True):
        assert mask[region].min() > mask[~region].max()


def test_two_runs_of_one_image(finished: list[Run], bench: AuditContext, tmp_path: Path) -> None:
    """Both under the baselines of the first; where regions differ in number, each has its own."""
    both = measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
    assert [one.regions for one in both.plays] == [3, 2]
    for run, one in zip(finished, both.plays, strict=True):
        alone = measure_image([run], ID, bench, area=AREA, cache=tmp_path / "alone")
        assert torch.equal(alone.plays[0].values, one.values)
    assert both.on_object is not None
    truth = grown(bench.data.load(ID, bench.classifier.preprocessing).segmentation)  # type: ignore[arg-type]
    assert both.object_share == truth.double().mean().item()
    for run, shares in zip(finished, both.on_object, strict=True):
        regions = regions_of(run[ID], AREA, seed=1)
        parts = [*regions, ~regions.any(0)]
        assert shares.tolist() == [truth[part].double().mean().item() for part in parts]


def same(one: AuditedImage, other: AuditedImage) -> bool:
    assert one.on_object is not None
    assert other.on_object is not None
    values = zip(one.plays, other.plays, strict=True)
    shares = zip(one.on_object, other.on_object, strict=True)
    return (
        all(torch.equal(a.values, b.values) and a.regions == b.regions for a, b in values)
        and all(torch.equal(a, b) for a, b in shares)
        and one.object_share == other.object_share
    )


def test_plays_are_read_from_the_disk(
    finished: list[Run], bench: AuditContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All numbers come back to the bit, and the classifier is not asked."""
    first = measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
    other = measure_image(finished[:1], ID, bench, area=AREA, cache=tmp_path / "other")

    def fail(*_: object) -> None:
        raise AssertionError("all is on the disk")

    monkeypatch.setattr(MaskedModel, "probability", fail)
    assert same(first, measure_image(finished, ID, bench, area=AREA, cache=tmp_path))
    assert same(other, measure_image(finished[:1], ID, bench, area=AREA, cache=tmp_path / "other"))


def test_plays_whose_file_is_damaged_are_made_again(
    finished: list[Run], bench: AuditContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert same(first, measure_image(finished, ID, bench, area=AREA, cache=tmp_path))
    assert file.read_bytes() == whole
    assert f"{file} is damaged" in caplog.text
    assert "the image is measured again" in caplog.text


def seen(monkeypatch: pytest.MonkeyPatch, object_: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
    """Lets the data set tell of another object."""
    load = Synthetic.load

    def changed(data: Synthetic, sample_id: str, preprocessing: Preprocessing) -> Sample:
        sample = load(data, sample_id, preprocessing)
        assert sample.segmentation is not None
        return replace(sample, segmentation=object_(sample.segmentation))

    monkeypatch.setattr(Synthetic, "load", changed)


@pytest.mark.parametrize("object_", [lambda marks: None, torch.zeros_like])
def test_an_object_that_is_unknown_or_outside_the_input(
    finished: list[Run],
    bench: AuditContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    object_: Callable[[torch.Tensor], torch.Tensor | None],
) -> None:
    """Nothing is said of it; also where plays of an earlier object are on the disk."""
    first = measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
    seen(monkeypatch, object_)
    for _ in range(2):
        found = measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
        assert (found.on_object, found.object_share) == (None, None)
        assert all(torch.equal(a.values, b.values) for a, b in zip(first.plays, found.plays, strict=True))


@pytest.mark.parametrize("change", ["masks", "area", "seed", "runs", "object", "version"])
def test_what_changes_the_plays_has_them_made_anew(
    finished: list[Run], bench: AuditContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
    runs, area, other = list(finished), AREA, bench
    if change == "masks":
        runs[0] = Changed(runs[0], masks=runs[0][ID].masks.flip(-1))
    elif change == "area":
        area = 0.3
    elif change == "seed":
        other = replace(bench, seed=5)
    elif change == "runs":
        runs.reverse()
    elif change == "object":
        seen(monkeypatch, lambda marks: marks.flip(-1))
    else:
        monkeypatch.setattr("inr_xai.audit.measure.VERSION", 1000)
    again = measure_image(runs, ID, other, area=area, cache=tmp_path)
    assert same(first, again) == (change == "version")
    key = json.loads((tmp_path / f"{ID}.json").read_text())["key"]
    assert (key["area"], key["seed"], len(key["masks"])) == (area, other.seed, 2)
    assert (key["version"] == 1000) == (change == "version")


def test_runs_that_explain_different_classes_are_refused(
    finished: list[Run], bench: AuditContext, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"different classes of '{ID}'"):
        measure_image([finished[0], Changed(finished[1], target=5)], ID, bench, area=AREA, cache=tmp_path)


def test_more_explanations_than_sets_can_be_asked_for_are_refused(
    finished: list[Run], bench: AuditContext, tmp_path: Path
) -> None:
    masks = finished[0][ID].masks
    many = Changed(finished[0], masks=masks[:1].expand(9, *masks.shape[1:]))
    with pytest.raises(UserError, match=f"'{ID}' has 9 explanations; an audit takes at most 8"):
        measure_image([many], ID, bench, area=AREA, cache=tmp_path)


def test_masks_that_are_not_finite_are_refused(finished: list[Run], bench: AuditContext, tmp_path: Path) -> None:
    broken = Changed(finished[0], masks=finished[0][ID].masks * torch.nan)
    with pytest.raises(UserError, match="masks are not finite"):
        measure_image([broken], ID, bench, area=AREA, cache=tmp_path)


@pytest.mark.parametrize("what", ["play", "chance"])
def test_answers_that_are_not_finite_are_refused(
    finished: list[Run], bench: AuditContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Of random regions as well, which would else be exceeded by nothing."""
    own = getattr(auditing, what)

    def broken(*arguments: Any, **options: Any) -> Any:
        found = own(*arguments, **options)
        return found * torch.nan if what == "chance" else replace(found, values=found.values * torch.nan)

    monkeypatch.setattr(auditing, what, broken)
    with pytest.raises(UserError, match="NaN or infinite logits for masked copies"):
        measure_image(finished, ID, bench, area=AREA, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_area_that_was_not_fitted_is_refused(finished: list[Run], bench: AuditContext) -> None:
    with pytest.raises(UserError, match=r"area 0\.2 was not fitted; this run has 0\.1, 0\.3"):
        regions_of(finished[0][ID], 0.2, seed=0)


def test_a_classifier_without_finite_logits_is_refused(
    finished: list[Run], bench: AuditContext, tmp_path: Path
) -> None:
    """Nothing is kept of it."""
    broken = network()
    with torch.no_grad():
        list(broken.parameters())[-1][0] = torch.nan  # the bias of the last layer
    other = replace(bench, classifier=bench.classifier.of(broken))
    with pytest.raises(UserError, match="NaN or infinite logits"):
        measure_image(finished, ID, other, area=AREA, cache=tmp_path)
    assert not list(tmp_path.iterdir())
