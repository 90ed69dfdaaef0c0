"""What was explained, as W&B's runs name it: hashes of the classifier and of the data."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from inr_xai.classifier.frozen import FrozenClassifier
from inr_xai.digests import file_digest, manifest_digest, weights_digest
from inr_xai.errors import error_text
from inr_xai.types import ImageData

log = logging.getLogger(__name__)


def digests_of(data: ImageData, classifier: FrozenClassifier, checkpoint: Any = None) -> dict[str, str]:
    """Returns hashes of what is explained: the classifier's weights, its file if it is known, and the ids of the data.

    One that cannot be computed is left out with a warning.

    Args:
        checkpoint: the option `classifier.checkpoint`.
    """
    model = classifier.model
    ways: dict[str, Callable[[], str]] = {"data_manifest": lambda: manifest_digest(data.ids)}
    if isinstance(model, nn.Module):
        ways["classifier_weights"] = lambda: weights_digest(model.state_dict())
    if isinstance(checkpoint, str | Path) and Path(checkpoint).is_file():
        ways["classifier_checkpoint"] = lambda: file_digest(Path(checkpoint))
    digests = {}
    for name, compute in ways.items():
        try:
            digests[name] = compute()
        except Exception as error:  # a model may hold anything; the run does not depend on its hash
            log.warning("W&B does not get the digest %s: %s", name, error_text(error))
    return digests
