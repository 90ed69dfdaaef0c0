"""Metrics of masks and importance maps: pure functions, each with a thin torchmetrics class.

docs/metrics.md lists them with formula, source and bounds. All are computed image by image, on the inputs' device.
"""

from inr_xai.masks import area_error, grayness, hard_masks, nesting_violation, overlap, rank_violation, share_above_half
from inr_xai.metrics.concentration import Complexity, Sparseness, complexity, sparseness
from inr_xai.metrics.faithfulness.average_drop_gain import (
    AverageDrop,
    AverageGain,
    AverageIncrease,
    average_drop,
    average_gain,
    average_increase,
    masked_images,
)
from inr_xai.metrics.faithfulness.games import DeletionRatio, PreservationRatio, deletion, preservation
from inr_xai.metrics.faithfulness.information_curves import InformationAUC, information_auc
from inr_xai.metrics.faithfulness.insertion_deletion import (
    DeletionAUC,
    InsertionAUC,
    PixelFlipping,
    deletion_auc,
    deletion_curve,
    insertion_auc,
    insertion_curve,
    pixel_flipping,
    rise_blur,
)
from inr_xai.metrics.faithfulness.map_infidelity import Infidelity, gaussian_noise, infidelity, square_removal
from inr_xai.metrics.faithfulness.patch_deletion import SingleDeletion, single_deletion
from inr_xai.metrics.faithfulness.random_removal import RandomFidelity, random_fidelity, removal_cost
from inr_xai.metrics.faithfulness.removal_correlation import (
    FaithfulnessCorrelation,
    faithfulness_correlation,
    random_subsets,
)
from inr_xai.metrics.faithfulness.remove_and_debias import ROAD, linear_imputation, road, road_scores
from inr_xai.metrics.inputs import accuracy_score, logit_score, probability_score
from inr_xai.metrics.localisation.grid_pointing import GridPointingGame, grid_pointing_game
from inr_xai.metrics.localisation.pointing import PointingGame, pointing_hits, smoothed
from inr_xai.metrics.localisation.relevance import (
    EnergyPointingGame,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
    bounding_boxes,
    energy_pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from inr_xai.metrics.localisation.segmentation import (
    IntersectionOverUnion,
    Precision,
    Recall,
    intersection_over_union,
    matched_area_mask,
    precision,
    recall,
    size_bin,
)
from inr_xai.metrics.masked_edges import Hallucination, hallucination
from inr_xai.metrics.masks import AreaError, Grayness, NestingViolation, Overlap, RankViolation, ShareAboveHalf
from inr_xai.metrics.robustness.randomisation import (
    EfficientMPRT,
    RandomisationSimilarity,
    cascading,
    efficient_mprt,
    histogram_entropy,
    independent,
    mprt,
    random_logit,
    randomisable_layers,
    randomised,
)
from inr_xai.metrics.robustness.sensitivity import (
    AverageSensitivity,
    MaxSensitivity,
    average_sensitivity,
    max_sensitivity,
)
from inr_xai.metrics.robustness.similarity import spearman, structural_similarity
from inr_xai.metrics.robustness.stability import SeedStability, mask_iou
from inr_xai.metrics.shape import Components, Perimeter, components, perimeter
from inr_xai.metrics.statistics.bootstrap import (
    Interval,
    mean_interval,
    paired_difference,
    ratio_of_means,
    sign_flip_p_value,
)
from inr_xai.metrics.statistics.shapley import coalitions, shapley_values

__all__ = [
    "ROAD",
    "AreaError",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "AverageSensitivity",
    "Complexity",
    "Components",
    "DeletionAUC",
    "DeletionRatio",
    "EfficientMPRT",
    "EnergyPointingGame",
    "FaithfulnessCorrelation",
    "Grayness",
    "GridPointingGame",
    "Hallucination",
    "Infidelity",
    "InformationAUC",
    "InsertionAUC",
    "IntersectionOverUnion",
    "Interval",
    "MaxSensitivity",
    "NestingViolation",
    "Overlap",
    "Perimeter",
    "PixelFlipping",
    "PointingGame",
    "Precision",
    "PreservationRatio",
    "RandomFidelity",
    "RandomisationSimilarity",
    "RankViolation",
    "Recall",
    "RelevanceMassAccuracy",
    "RelevanceRankAccuracy",
    "SeedStability",
    "ShareAboveHalf",
    "SingleDeletion",
    "Sparseness",
    "accuracy_score",
    "area_error",
    "average_drop",
    "average_gain",
    "average_increase",
    "average_sensitivity",
    "bounding_boxes",
    "cascading",
    "coalitions",
    "complexity",
    "components",
    "deletion",
    "deletion_auc",
    "deletion_curve",
    "efficient_mprt",
    "energy_pointing_game",
    "faithfulness_correlation",
    "gaussian_noise",
    "grayness",
    "grid_pointing_game",
    "hallucination",
    "hard_masks",
    "histogram_entropy",
    "independent",
    "infidelity",
    "information_auc",
    "insertion_auc",
    "insertion_curve",
    "intersection_over_union",
    "linear_imputation",
    "logit_score",
    "mask_iou",
    "masked_images",
    "matched_area_mask",
    "max_sensitivity",
    "mean_interval",
    "mprt",
    "nesting_violation",
    "overlap",
    "paired_difference",
    "perimeter",
    "pixel_flipping",
    "pointing_hits",
    "precision",
    "preservation",
    "probability_score",
    "random_fidelity",
    "random_logit",
    "random_subsets",
    "randomisable_layers",
    "randomised",
    "rank_violation",
    "ratio_of_means",
    "recall",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "removal_cost",
    "rise_blur",
    "road",
    "road_scores",
    "shapley_values",
    "share_above_half",
    "sign_flip_p_value",
    "single_deletion",
    "size_bin",
    "smoothed",
    "sparseness",
    "spearman",
    "square_removal",
    "structural_similarity",
]
