"""How faithful a heatmap is to the classifier, and how concentrated it is."""

import torch

from inr_xai.evaluation.subject import Subject
from inr_xai.metrics.complexity import complexity, sparseness
from inr_xai.metrics.drop import average_drop, average_gain, average_increase, masked_images
from inr_xai.metrics.infidelity import infidelity, square_removal
from inr_xai.metrics.insertion import deletion_auc, insertion_auc, rise_blur
from inr_xai.metrics.road import road
from inr_xai.types import Images

Values = dict[str, float]


def insertion(subject: Subject) -> Values:
    """RISE's protocol, for the class that was explained."""
    images, asked = subject.images, (subject.score, subject.images, subject.targets, subject.maps)
    blurred = rise_blur(images, outside=images.new_tensor(subject.classifier.colour_mean))
    found = insertion_auc(*asked, baseline=blurred, generators=subject.generators("ties"))
    return {"insertion_auc": float(found)}


def deletion(subject: Subject) -> Values:
    """RISE's protocol, for the class that was explained."""
    asked = (subject.score, subject.images, subject.targets, subject.maps)
    found = deletion_auc(*asked, baseline=_mean_colour(subject), generators=subject.generators("ties"))
    return {"deletion_auc": float(found)}


def drop(subject: Subject) -> Values:
    return {"average_drop": float(average_drop(*_kept_and_whole(subject)))}


def increase(subject: Subject) -> Values:
    return {"average_increase": float(average_increase(*_kept_and_whole(subject)))}


def gain(subject: Subject) -> Values:
    return {"average_gain": float(average_gain(*_kept_and_whole(subject)))}


def road_combined(subject: Subject) -> Values:
    asked = (subject.score, subject.images, subject.targets, subject.maps)
    return {"road": float(road(*asked, generators=subject.generators("road")))}


def infidelities(subject: Subject) -> Values:
    """Of squares taken out to the mean colour, the map scaled as fits best."""
    draws = subject.generators("infidelity")
    taken = square_removal(subject.images, baseline=_mean_colour(subject), generators=draws)
    found = infidelity(subject.score, subject.images, subject.targets, subject.maps, perturbations=taken)
    return {"infidelity": float(found)}


def gini(subject: Subject) -> Values:
    return {"sparseness": float(sparseness(subject.maps))}


def entropy(subject: Subject) -> Values:
    return {"complexity": float(complexity(subject.maps))}


def _mean_colour(subject: Subject) -> Images:
    """0 after the model's normalisation."""
    colour = subject.images.new_tensor(subject.classifier.colour_mean)
    return colour.reshape(-1, 1, 1).expand_as(subject.images)


def _kept_and_whole(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    """The probability of the image scaled by its map, and of the image."""
    scaled = masked_images(subject.images, subject.maps, baseline=_mean_colour(subject))
    return subject.score(scaled, subject.targets), subject.score(subject.images, subject.targets)
