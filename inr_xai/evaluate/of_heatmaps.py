"""How faithful a heatmap is to the classifier, and how concentrated it is."""

from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues
from inr_xai.metrics.faithfulness.average_drop_gain import average_drop, average_gain, average_increase
from inr_xai.metrics.faithfulness.insertion_deletion import deletion_auc, insertion_auc, rise_blur
from inr_xai.metrics.faithfulness.map_infidelity import infidelity, square_removal
from inr_xai.metrics.faithfulness.remove_and_debias import road
from inr_xai.metrics.map_complexity import complexity, sparseness


def insertion(subject: ExplainedImage) -> MetricValues:
    """RISE's protocol, for the class that was explained."""
    images, asked = subject.images, (subject.score, subject.images, subject.targets, subject.maps)
    blurred = rise_blur(images, outside=images.new_tensor(subject.classifier.colour_mean))
    found = insertion_auc(*asked, baseline=blurred, generators=subject.generators("ties"))
    return {"insertion_auc": float(found)}


def deletion(subject: ExplainedImage) -> MetricValues:
    """RISE's protocol, for the class that was explained."""
    asked = (subject.score, subject.images, subject.targets, subject.maps)
    found = deletion_auc(*asked, baseline=subject.mean_colour, generators=subject.generators("ties"))
    return {"deletion_auc": float(found)}


def drop(subject: ExplainedImage) -> MetricValues:
    return {"average_drop": float(average_drop(*subject.kept_and_whole))}


def increase(subject: ExplainedImage) -> MetricValues:
    return {"average_increase": float(average_increase(*subject.kept_and_whole))}


def gain(subject: ExplainedImage) -> MetricValues:
    return {"average_gain": float(average_gain(*subject.kept_and_whole))}


def road_combined(subject: ExplainedImage) -> MetricValues:
    asked = (subject.score, subject.images, subject.targets, subject.maps)
    return {"road": float(road(*asked, generators=subject.generators("road")))}


def infidelities(subject: ExplainedImage) -> MetricValues:
    """Of squares taken out to the mean colour, the map scaled as fits best."""
    draws = subject.generators("infidelity")
    taken = square_removal(subject.images, baseline=subject.mean_colour, generators=draws)
    found = infidelity(subject.score, subject.images, subject.targets, subject.maps, perturbations=taken)
    return {"infidelity": float(found)}


def gini(subject: ExplainedImage) -> MetricValues:
    return {"sparseness": float(sparseness(subject.maps))}


def entropy(subject: ExplainedImage) -> MetricValues:
    return {"complexity": float(complexity(subject.maps))}
