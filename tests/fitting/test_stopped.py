"""A fit that a callback ends: its images keep the explanations that had ended, to the bit, and no other."""

from typing import Any

import lightning
import pytest
import torch

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.explanation.explain import explain
from inr_xai.fitting.fit import fit_masks
from inr_xai.fitting.mask_module import MaskModule
from inr_xai.fitting.stack import STOPPED, FitStopped
from inr_xai.limits import Plateau
from inr_xai.method import Method
from tests.conftest import pictures

SHORT = Method(areas=(0.1, 0.3), explanations=3, steps=4)


class StopAt(lightning.Callback):
    """Ends the fit of an explanation after a step, both counted from 1, and counts all steps."""

    def __init__(self, explanation: int, step: int):
        self.place, self.steps = (explanation, step), 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert isinstance(pl_module, MaskModule)
        self.steps += 1
        if (pl_module.explanation, batch + 1) == self.place:
            raise FitStopped


@pytest.mark.parametrize("plateau", [None, 2])
@pytest.mark.slow
def test_what_had_ended_is_kept_and_the_model_comes_back(tiny: FrozenClassifier, plateau: int | None) -> None:
    options = {"areas": (0.1, 0.3), "explanations": 3, "steps": 4, "plateau": Plateau(plateau)}
    images, targets, before = pictures(2), torch.tensor([0, 1]), tiny.model.training
    whole = fit_masks(images, targets, ["a", "b"], tiny, Method(**options))
    watcher = StopAt(3, 1)
    cut = fit_masks(images[:1], targets[:1], ["a"], tiny, Method(**options), callbacks=[watcher])
    assert (cut.counts, cut.fits, cut.failures) == ([2], [2], {})
    assert torch.equal(cut.masks[0], whole.masks[0, :2])
    assert torch.equal(cut.losses[0].nan_to_num(), whole.losses[0, :2].nan_to_num())
    assert tiny.model.training == before
    assert all(parameter.requires_grad for parameter in tiny.model.parameters())


def test_an_image_without_any_explanation_has_failed_and_others_have_their_own_end(tiny: FrozenClassifier) -> None:
    images, targets, watcher = pictures(2), torch.tensor([0, 1]), StopAt(1, 3)
    cut = fit_masks(images, targets, ["a", "b"], tiny, SHORT, callbacks=[watcher])
    assert cut.failures == {0: STOPPED, 1: STOPPED}
    assert (cut.counts, cut.fits, watcher.steps) == ([0, 0], [0, 0], 6)
    assert cut.masks.abs().sum() == 0


@pytest.mark.parametrize("callbacks", [StopAt(1, 1), None, [print], "all"])
def test_what_is_no_list_of_callbacks_is_refused(callbacks: Any, tiny: FrozenClassifier) -> None:
    with pytest.raises(UserError, match=r"^callbacks must be a list of objects of subclasses of lightning\.Callback"):
        explain(tiny, pictures(1)[0], 1, callbacks=callbacks)


@pytest.mark.slow
def test_explain_takes_callbacks_and_gives_what_had_ended(tiny: FrozenClassifier) -> None:
    image = pictures(1)[0]
    options: dict[str, Any] = {"areas": (0.1, 0.3), "steps": 4, "names": ["a"], "progress": False}
    whole = explain(tiny, image, 1, explanations=2, **options)
    cut = explain(tiny, image, 1, explanations=2, callbacks=[StopAt(2, 2)], **options)
    assert (len(whole.masks), len(cut.masks)) == (2, 1)
    assert torch.equal(cut.masks[0], whole.masks[0])
    assert cut.rows == whole.rows[:2]
    assert torch.equal(cut.mask(0.17), whole.mask(0.17))
    with pytest.raises(UserError, match="stopped before its first explanation"):
        explain(tiny, image, 1, explanations=2, callbacks=[StopAt(1, 2)], **options)
