"""What an evaluation and an audit say at W&B, from made-up files."""

from pathlib import Path

import pytest

from inr_xai.loggers.measured import audit_keys, evaluation_keys, gallery_cells

EVALUATED = (
    "sample_id,sparseness,road,pointing_game,deletion_auc,insertion_auc,iou/a0.1\na,9,0.5,1,,0.75,1\nb,9,0,0,,1,1\n"
)
AUDITED = """sample_id,p_full,admitted,evidence,redundant,where,object_evidence
a,0.5,1,concentrated,1,object,0.5
b,1.0,1,distributed,0,context,0.125
c,0.25,0,no claim,0,no claim,0.9
d,1.0,1,concentrated,0,,nan
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"evaluation/masks.csv": EVALUATED, "audit/per_image.csv": AUDITED}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_first_headline_metrics_that_were_measured_are_shown(folder: Path) -> None:
    keys = evaluation_keys(folder / "evaluation" / "masks.csv")
    assert keys == {
        "evaluation/insertion_auc": 0.875,
        "evaluation/pointing_game": 0.5,
        "evaluation/road": 0.25,
        "evaluation/sparseness": 9.0,
    }


def test_the_audit_is_shares_of_the_images(folder: Path) -> None:
    keys = audit_keys(folder / "audit" / "per_image.csv")
    share = (0.5 * 0.5 + 0.125 * 1.0) / (0.5 + 1.0)  # a ratio of means over images of which something is claimed
    assert keys == {"audit/share_of_object": share, "audit/concentrated": 0.5, "audit/no_claim": 0.25}


def test_the_gallery_gets_verdicts_and_metrics(folder: Path) -> None:
    cells = gallery_cells(folder)
    assert list(cells) == ["verdict", "evidence lies on", "insertion_auc", "pointing_game", "road", "sparseness"]
    assert cells["verdict"] == {
        "a": "concentrated, redundant",
        "b": "distributed",
        "c": "no claim",
        "d": "concentrated",
    }
    assert cells["evidence lies on"] == {"a": "object", "b": "context", "c": "no claim"}
    assert cells["road"] == {"a": 0.5, "b": 0.0}


def test_nothing_measured_is_nothing_shown(tmp_path: Path) -> None:
    assert gallery_cells(tmp_path) == {}
    assert evaluation_keys(tmp_path / "none.csv") == audit_keys(tmp_path / "none.csv") == {}
