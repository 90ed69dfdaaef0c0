"""The metrics of an explained image that read its heatmap and, but for the last two, ask the classifier."""

from inr_xai import metrics
from inr_xai.evaluate.explained_image import ExplainedImage, MetricValues


def insertion_auc(image: ExplainedImage) -> MetricValues:
    """Returns the area under RISE's insertion curve, for the class that was explained."""
    images = image.images
    blurred = metrics.rise_blur(images, outside=images.new_tensor(image.classifier.colour_mean))
    value = metrics.insertion_auc(
        image.score, images, image.targets, image.maps, baseline=blurred, generators=image.generators("ties")
    )
    return {"insertion_auc": float(value)}


def deletion_auc(image: ExplainedImage) -> MetricValues:
    """Returns the area under RISE's deletion curve, for the class that was explained."""
    value = metrics.deletion_auc(
        image.score,
        image.images,
        image.targets,
        image.maps,
        baseline=image.mean_colour,
        generators=image.generators("ties"),
    )
    return {"deletion_auc": float(value)}


def pixel_flipping(image: ExplainedImage) -> MetricValues:
    """Returns the area under the curve of the probability as pixels are inverted, the most important first."""
    value = metrics.pixel_flipping(
        image.score, image.images, image.targets, image.maps, generators=image.generators("ties")
    )
    return {"pixel_flipping": float(value)}


def faithfulness_correlation(image: ExplainedImage) -> MetricValues:
    """Returns the correlation of the heatmap's sums over random pixels with what the loss of these pixels costs."""
    subsets = metrics.random_subsets(image.images, generators=image.generators("subsets"))
    value = metrics.faithfulness_correlation(
        image.score, image.images, image.targets, image.maps, baseline=image.mean_colour, subsets=subsets
    )
    return {"faithfulness_correlation": float(value)}


def average_drop(image: ExplainedImage) -> MetricValues:
    """Returns the share of the probability that is lost if the image is scaled by its heatmap."""
    return {"average_drop": float(metrics.average_drop(*image.kept_and_whole))}


def average_increase(image: ExplainedImage) -> MetricValues:
    """Returns 1 if the probability rises as the image is scaled by its heatmap, else 0."""
    return {"average_increase": float(metrics.average_increase(*image.kept_and_whole))}


def average_gain(image: ExplainedImage) -> MetricValues:
    """Returns the share of what is missing to a probability of 1 that scaling by the heatmap adds."""
    return {"average_gain": float(metrics.average_gain(*image.kept_and_whole))}


def road(image: ExplainedImage) -> MetricValues:
    """Returns ROAD's combined score, (LeRF - MoRF) / 2."""
    value = metrics.road(image.score, image.images, image.targets, image.maps, generators=image.generators("road"))
    return {"road": float(value)}


def infidelity(image: ExplainedImage) -> MetricValues:
    """Returns the infidelity for squares of the mean colour, with the best scale of the heatmap."""
    squares = metrics.square_removal(
        image.images, baseline=image.mean_colour, generators=image.generators("infidelity")
    )
    value = metrics.infidelity(image.score, image.images, image.targets, image.maps, perturbations=squares)
    return {"infidelity": float(value)}


def single_deletion(image: ExplainedImage) -> MetricValues:
    """Returns the rank correlation of the heatmap's sums over 4 x 4 patches with what each patch adds to the logit."""
    score = metrics.logit_score(image.classifier, batch_size=image.masks_per_forward)
    value = metrics.single_deletion(score, image.images, image.targets, image.maps, baseline=image.mean_colour)
    return {"single_deletion": float(value)}


def sic(image: ExplainedImage) -> MetricValues:
    """Returns the area under the softmax information curve; NaN if the blur does not lose the class's probability."""
    return {"sic": image.information[0]}


def aic(image: ExplainedImage) -> MetricValues:
    """Returns the area under the accuracy information curve; NaN if the blur does not lose the class's first place."""
    return {"aic": image.information[1]}


def sparseness(image: ExplainedImage) -> MetricValues:
    """Returns the Gini index of the heatmap."""
    return {"sparseness": float(metrics.sparseness(image.maps))}


def complexity(image: ExplainedImage) -> MetricValues:
    """Returns the entropy of the heatmap."""
    return {"complexity": float(metrics.complexity(image.maps))}
