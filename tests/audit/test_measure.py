"""The games of finished runs have the runs' own scores; they are stored, and played anew if the masks have changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import inr_xai
from inr_xai.audit import measure as module
from inr_xai.audit.estimates import AuditedImage, add_seam
from inr_xai.audit.measure import AuditContext, hard_regions, measure_image
from inr_xai.data import Synthetic
from inr_xai.errors import UserError
from inr_xai.instantiate import instantiate, make_photo_pool, stored_configuration
from inr_xai.runs.load import Explained, Run
from inr_xai.scoring.masked_model import MaskedModel
from inr_xai.types import Preprocessing, Sample
from tests.helpers.games import CHEAP
from tests.helpers.runs import TINY, explain, network

ID = "00000-disc"
AREA = 0.1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs of one image, with different seeds and numbers of explanations."""
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    explain(folders[0], "seed=1", "explanations=3", "data.limit=1", *CHEAP, base=TINY)
    explain(folders[1], "seed=2", "explanations=2", "data.limit=1", *CHEAP, base=TINY)
    return [inr_xai.load(folder) for folder in folders]


@pytest.fixture(scope="module")
def context(finished: list[Run]) -> AuditContext:
    cfg = stored_configuration(finished[0].info["config"], ["allow_targets=[tests]"])
    data, classifier = instantiate(cfg.data), instantiate(cfg.classifier)
    pool = make_photo_pool(finished[0].info["scoring_pool"], data, classifier)
    return AuditContext(data, classifier, pool, torch.device("cpu"), seed=cfg.seed)


class Changed(Run):
    """A run in which the stored record of the image is changed."""

    def __init__(self, run: Run, **changes: object):
        self._ids = [ID]
        self.explained = Explained(replace(run[ID].record, **changes))  # type: ignore[arg-type]

    def __getitem__(self, sample_id: str) -> Explained:
        return self.explained


@pytest.mark.slow
def test_values_are_the_scores_of_the_run(finished: list[Run], context: AuditContext, tmp_path: Path) -> None:
    """The run itself kept and removed the same hard masks under the same draws."""
    for area in (0.1, 0.3):
        (game,) = measure_image(finished[:1], ID, context, area=area, cache=tmp_path).games
        rows = [row for row in finished[0][ID].rows if row["area"] == area]
        assert len(rows) == game.regions == 3
        for k, row in enumerate(rows, start=1):
            values = {
                "preservation_hard": game.alone(k),
                "deletion_hard": game.without(k),
                "union_hard": game.union(k),
                "remaining_hard": game.remaining(k),
            }
            for column, value in values.items():
                expected = [row[f"{column}_{name}"] for name in ("blur", "grey", "noise", "photo")]
                assert value.tolist() == pytest.approx(expected, abs=1e-5)
            assert game.whole.tolist() == pytest.approx([row["p_full"]] * 4, abs=1e-5)


def test_regions_are_disjoint_and_of_the_area(finished: list[Run], context: AuditContext) -> None:
    regions = hard_regions(finished[0][ID], AREA, seed=1)
    assert regions.sum((1, 2)).tolist() == [57, 57, 57]  # floor(0.1 * 24 * 24)
    assert int(regions.sum(0).max()) == 1
    masks = finished[0][ID].masks[:, 0]
    for region, mask in zip(regions, masks, strict=True):
        assert mask[region].min() > mask[~region].max()


@pytest.mark.slow
def test_two_runs_of_one_image(finished: list[Run], context: AuditContext, tmp_path: Path) -> None:
    """Both are masked with the baselines of the first; each has its own number of regions."""
    both = measure_image(finished, ID, context, area=AREA, cache=tmp_path)
    assert [game.regions for game in both.games] == [3, 2]
    for run, game in zip(finished, both.games, strict=True):
        alone = measure_image([run], ID, context, area=AREA, cache=tmp_path / "alone")
        assert torch.equal(alone.games[0].values, game.values)
    assert both.on_object is not None
    truth = add_seam(context.data.load(ID, context.classifier.preprocessing).segmentation)  # type: ignore[arg-type]
    assert both.object_share == truth.double().mean().item()
    for run, shares in zip(finished, both.on_object, strict=True):
        regions = hard_regions(run[ID], AREA, seed=1)
        parts = [*regions, ~regions.any(0)]
        assert shares.tolist() == [truth[part].double().mean().item() for part in parts]


def same(first: AuditedImage, second: AuditedImage) -> bool:
    """Returns whether two measurements are equal to the bit."""
    assert first.on_object is not None
    assert second.on_object is not None
    games = zip(first.games, second.games, strict=True)
    shares = zip(first.on_object, second.on_object, strict=True)
    return (
        all(torch.equal(a.values, b.values) and a.regions == b.regions for a, b in games)
        and all(torch.equal(a, b) for a, b in shares)
        and first.object_share == second.object_share
    )


@pytest.mark.slow
def test_stored_games_are_read_back(
    finished: list[Run], context: AuditContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All numbers come back to the bit, and the classifier does not run."""
    first = measure_image(finished, ID, context, area=AREA, cache=tmp_path)
    other = measure_image(finished[:1], ID, context, area=AREA, cache=tmp_path / "other")

    def fail(*_: object) -> None:
        raise AssertionError("the games are stored already")

    monkeypatch.setattr(MaskedModel, "probability", fail)
    assert same(first, measure_image(finished, ID, context, area=AREA, cache=tmp_path))
    assert same(other, measure_image(finished[:1], ID, context, area=AREA, cache=tmp_path / "other"))


def test_games_whose_file_is_damaged_are_played_again(
    finished: list[Run], context: AuditContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = measure_image(finished, ID, context, area=AREA, cache=tmp_path)
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert same(first, measure_image(finished, ID, context, area=AREA, cache=tmp_path))
    assert file.read_bytes() == whole
    assert f"{file} is damaged" in caplog.text
    assert "the image is measured again" in caplog.text


def change_object(monkeypatch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
    """Makes the data set load another segmentation."""
    load = Synthetic.load

    def changed(data: Synthetic, sample_id: str, preprocessing: Preprocessing) -> Sample:
        sample = load(data, sample_id, preprocessing)
        assert sample.segmentation is not None
        return replace(sample, segmentation=change(sample.segmentation))

    monkeypatch.setattr(Synthetic, "load", changed)


@pytest.mark.parametrize("change", [lambda segmentation: None, torch.zeros_like])
@pytest.mark.slow
def test_an_object_that_is_unknown_or_outside_the_input(
    finished: list[Run],
    context: AuditContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[torch.Tensor], torch.Tensor | None],
) -> None:
    """No object is reported, also if games with an earlier object are stored."""
    first = measure_image(finished, ID, context, area=AREA, cache=tmp_path)
    change_object(monkeypatch, change)
    for _ in range(2):
        image = measure_image(finished, ID, context, area=AREA, cache=tmp_path)
        assert (image.on_object, image.object_share) == (None, None)
        assert all(torch.equal(a.values, b.values) for a, b in zip(first.games, image.games, strict=True))


@pytest.mark.parametrize("change", ["masks", "area", "seed", "runs", "object", "version"])
@pytest.mark.slow
def test_games_are_played_anew_if_their_inputs_change(
    finished: list[Run], context: AuditContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    first = measure_image(finished, ID, context, area=AREA, cache=tmp_path)
    runs, area, other = list(finished), AREA, context
    if change == "masks":
        runs[0] = Changed(runs[0], masks=runs[0][ID].masks.flip(-1))
    elif change == "area":
        area = 0.3
    elif change == "seed":
        other = replace(context, seed=5)
    elif change == "runs":
        runs.reverse()
    elif change == "object":
        change_object(monkeypatch, lambda segmentation: segmentation.flip(-1))
    else:
        monkeypatch.setattr("inr_xai.audit.measure.VERSION", 1000)
    again = measure_image(runs, ID, other, area=area, cache=tmp_path)
    assert same(first, again) == (change == "version")
    key = json.loads((tmp_path / f"{ID}.json").read_text())["key"]
    assert (key["area"], key["seed"], len(key["masks"])) == (area, other.seed, 2)
    assert (key["version"] == 1000) == (change == "version")


def test_runs_that_explain_different_classes_are_refused(
    finished: list[Run], context: AuditContext, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"different classes of '{ID}'"):
        measure_image([finished[0], Changed(finished[1], target=5)], ID, context, area=AREA, cache=tmp_path)


def test_more_explanations_than_an_audit_takes_are_refused(
    finished: list[Run], context: AuditContext, tmp_path: Path
) -> None:
    masks = finished[0][ID].masks
    many = Changed(finished[0], masks=masks[:1].expand(9, *masks.shape[1:]))
    with pytest.raises(UserError, match=f"'{ID}' has 9 explanations; an audit takes at most 8"):
        measure_image([many], ID, context, area=AREA, cache=tmp_path)


def test_masks_that_are_not_finite_are_refused(finished: list[Run], context: AuditContext, tmp_path: Path) -> None:
    broken = Changed(finished[0], masks=finished[0][ID].masks * torch.nan)
    with pytest.raises(UserError, match="masks are not finite"):
        measure_image([broken], ID, context, area=AREA, cache=tmp_path)


@pytest.mark.parametrize("function", ["play_coalitions", "random_region_values"])
def test_answers_that_are_not_finite_are_refused(
    finished: list[Run], context: AuditContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """This holds for random regions as well, whose NaN nothing would exceed."""
    original = getattr(module, function)

    def broken(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if function == "random_region_values":
            return result * torch.nan
        return replace(result, values=result.values * torch.nan)

    monkeypatch.setattr(module, function, broken)
    with pytest.raises(UserError, match="NaN or infinite logits for masked copies"):
        measure_image(finished, ID, context, area=AREA, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_area_that_was_not_fitted_is_refused(finished: list[Run], context: AuditContext) -> None:
    with pytest.raises(UserError, match=r"area 0\.2 was not fitted; this run has 0\.1, 0\.3"):
        hard_regions(finished[0][ID], 0.2, seed=0)


def test_a_classifier_without_finite_logits_is_refused(
    finished: list[Run], context: AuditContext, tmp_path: Path
) -> None:
    """Nothing of the image is stored."""
    broken = network()
    with torch.no_grad():
        list(broken.parameters())[-1][0] = torch.nan  # the bias of the last layer
    other = replace(context, classifier=context.classifier.of(broken))
    with pytest.raises(UserError, match="NaN or infinite logits"):
        measure_image(finished, ID, other, area=AREA, cache=tmp_path)
    assert not list(tmp_path.iterdir())
