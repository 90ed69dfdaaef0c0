"""Scores against probabilities computed by hand, and games by the masks that they score."""

import pytest
import torch

from inr_xai.errors import UserError
from inr_xai.objective import (
    IN_PLACE_OF,
    Contrastive,
    Deletion,
    Hybrid,
    Logit,
    LogProbability,
    OfLogarithm,
    Preservation,
    ScoreFunction,
)

AREAS = torch.tensor([0.3, 0.1, 0.22])
LOGITS = torch.tensor([[1.0, 3.0, -2.0], [0.5, 0.0, 4.0]], dtype=torch.float64)
TARGETS = torch.tensor([1, 0])


def test_log_probability_of_a_softmax() -> None:
    p = (LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True))[[0, 1], TARGETS]
    torch.testing.assert_close(LogProbability().evidence(LOGITS, TARGETS, sigmoid=False), p.log())
    torch.testing.assert_close(LogProbability().absence(LOGITS, TARGETS, sigmoid=False), (1 - p).log())


def test_log_probability_of_a_sigmoid() -> None:
    p = 1 / (1 + (-LOGITS[[0, 1], TARGETS]).exp())
    torch.testing.assert_close(LogProbability().evidence(LOGITS, TARGETS, sigmoid=True), p.log())
    torch.testing.assert_close(LogProbability().absence(LOGITS, TARGETS, sigmoid=True), (1 - p).log())


def test_absence_stays_finite_if_the_class_is_certain() -> None:
    certain = torch.tensor([[100.0, 0.0, 0.0]], requires_grad=True)
    value = LogProbability().absence(certain, torch.tensor([0]), sigmoid=False)
    value.sum().backward()
    assert value.item() == pytest.approx(-100 + torch.tensor(2.0).log().item())
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


def test_logit_and_contrastive() -> None:
    assert Logit().evidence(LOGITS, TARGETS, sigmoid=False).tolist() == [3.0, 0.5]
    assert Logit().absence(LOGITS, TARGETS, sigmoid=False).tolist() == [-3.0, -0.5]
    assert Contrastive().evidence(LOGITS, TARGETS, sigmoid=False).tolist() == [2.0, -3.5]
    assert Contrastive().absence(LOGITS, TARGETS, sigmoid=False).tolist() == [-2.0, 3.5]


def test_of_logarithms_of_probabilities_evidence_and_absence_are_exact_at_both_ends() -> None:
    p = torch.tensor([1e-30, 1e-9, 0.2, 0.49, 0.51, 0.9, 1 - 1e-9], dtype=torch.float64)
    logits = torch.stack([p.log(), torch.zeros_like(p)], 1).requires_grad_()
    targets = torch.zeros(len(p), dtype=torch.int64)
    torch.testing.assert_close(OfLogarithm().evidence(logits, targets, sigmoid=False), p.log())
    absence = OfLogarithm().absence(logits, targets, sigmoid=False)
    torch.testing.assert_close(absence, torch.log1p(-p), rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(absence.sum(), logits)
    torch.testing.assert_close(gradient[:, 0], -p / (1 - p), rtol=1e-6, atol=0)
    single = torch.tensor([[0.0]], requires_grad=True)  # p = 1
    end = OfLogarithm().absence(single, targets[:1], sigmoid=False)
    assert end.isfinite().all()
    assert end < -15
    (gradient,) = torch.autograd.grad(end.sum(), single)
    assert gradient.isfinite().all()


def test_only_the_default_score_has_another_in_its_place_and_no_class_of_the_users() -> None:
    class Own(LogProbability):
        pass

    places = {(kind, head) for kind, head in IN_PLACE_OF}
    assert places == {(LogProbability, "probabilities"), (LogProbability, "none")}
    assert IN_PLACE_OF.get((Own, "none")) is None
    assert isinstance(IN_PLACE_OF[LogProbability, "none"], Logit)
    assert all(isinstance(score, ScoreFunction) for score in IN_PLACE_OF.values())


def test_contrastive_needs_another_class() -> None:
    for score in (Contrastive().evidence, Contrastive().absence):
        with pytest.raises(UserError, match="score=contrastive compares a class with the others"):
            score(torch.zeros(2, 1), torch.tensor([0, 0]), sigmoid=False)


def test_games_score_the_mask_and_its_complement() -> None:
    masks = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def mean(m: torch.Tensor) -> torch.Tensor:
        return m.mean((-2, -1))

    kept = mean(masks)
    torch.testing.assert_close(Preservation()(masks, AREAS.tolist(), mean, mean, step=0), -kept)
    torch.testing.assert_close(Deletion()(masks, AREAS.tolist(), mean, mean, step=0), -(1 - kept))
    torch.testing.assert_close(
        Hybrid(0.5, areas=None)(masks, AREAS.tolist(), mean, mean, step=0), -kept - 0.5 * (1 - kept)
    )


def test_hybrid_plays_deletion_in_turn_on_the_masks_nearest_to_its_areas() -> None:
    masks = torch.stack([torch.full((1, 4, 4), value) for value in AREAS.tolist()], dim=1).expand(2, -1, -1, -1)

    def mean(m: torch.Tensor) -> torch.Tensor:
        return m.mean((-2, -1))

    game = Hybrid(2.0, areas=(0.2, 0.05))
    third, second = [-0.3, -0.1, -0.22 - 2 * 0.78], [-0.3, -0.1 - 2 * 0.9, -0.22]
    for step, expected in enumerate([third, second, third]):
        torch.testing.assert_close(game(masks, AREAS.tolist(), mean, mean, step=step), torch.tensor([expected] * 2))


def test_number_of_passes_per_step() -> None:
    games = (Preservation(), Deletion(), Hybrid(), Hybrid(areas=None))
    assert [game.passes(4) for game in games] == [4, 4, 5, 8]


def test_wrong_options_of_hybrid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"objective.deletion must be positive, got 0.0"):
        Hybrid(0.0)
    with pytest.raises(
        ValueError, match=r"objective.areas must lie in \(0, 1\), or be null for all masks; got \(1.5,\)"
    ):
        Hybrid(areas=(1.5,))
