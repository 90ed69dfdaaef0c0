"""Hashes of what was explained."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from inr_xai.classifier import demo
from inr_xai.data.scenes.synthetic import Synthetic
from inr_xai.digests import file_digest, manifest_digest
from inr_xai.loggers.explained import digests_of
from tests.helpers.runs import messages


def test_a_digest_that_cannot_be_computed_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("packed")

    data, classifier, file = Synthetic(size=2), demo(), tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    classifier.model = Odd(1, 1)
    digests = digests_of(data, classifier, file)
    assert digests == {"data_manifest": manifest_digest(data.ids), "classifier_checkpoint": file_digest(file)}
    assert messages(caplog.records) == ["W&B does not get the digest classifier_weights: packed"]
