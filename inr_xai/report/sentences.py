"""What a page says in sentences: what was found in the images, and what may not be concluded from it.

Numbers are ratios of means over images, as in summary.json, at the middle area that was fitted.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from inr_xai.report.content import CHANCE, KEPT, REMOVED, SEEN_BY_NO_FIT, Entry

if TYPE_CHECKING:
    from inr_xai.metrics.statistics.bootstrap import Interval

FEW = 30
"""With fewer images a page says that they are few."""
HALF = 0.5
"""Of the whole image's score, from which on an explanation is said to hold the evidence."""
NAMED = 3
"""So many images are named at once."""


def found(entries: Sequence[Entry]) -> list[str]:
    """Returns what was found in the images of one run."""
    scored = [entry for entry in entries if entry.areas]
    if not scored:
        return [f"{_count(len(entries), 'map')} of another method, of which no score is known here."]
    most = max(len(entry.carries) for entry in scored)
    disjoint = " that share no pixel" if all(entry.disjoint for entry in scored) else ""
    masks = "one mask" if most == 1 else f"up to {most} masks{disjoint}"
    each = "" if len(scored) == 1 else ", each"
    sentences = [f"{_count(len(scored), 'image')}{each} with {masks}: what the classifier needs to see of it."]
    sentences += _kept(scored)
    sentences += _removed(scored)
    sentences += _carried(scored, most)
    judged = [entry for entry in scored if entry.wrong is not None]
    if judged:
        right = sum(not entry.wrong for entry in judged)
        what = "the label" if any(entry.right is not None for entry in judged) else "the class that is explained"
        if len(judged) == 1:
            sentences.append(f"The most likely class is {'' if right else 'not '}{what}.")
        else:
            sentences.append(f"The most likely class is {what} in {_of(right, len(judged))}.")
    return sentences + _audited(scored)


def not_concluded(entries: Sequence[Entry]) -> list[str]:
    """Returns what may not be concluded from the images of one run."""
    scored = [entry for entry in entries if entry.areas]
    left = _ratio(scored, REMOVED)
    rest = "" if math.isnan(left) else f" Here {_percent(left)} is left without explanation 1."
    sentences = [
        f"That the model needs just this part. A mask suffices; it need not be necessary.{rest}",
        "That the outline is the object's. A mask has the area that was asked for, however large the object is, and "
        "another seed draws another outline.",
        "That a score holds whatever hides the rest. Read the one under fillings that no fit has used.",
    ]
    empty = [entry.name for entry in scored if entry.carries and entry.carries[0] is False]
    if empty:
        named = ", ".join(empty[:NAMED]) + (f" and {len(empty) - NAMED} more" if len(empty) > NAMED else "")
        sentences.append(f"Anything from the masks of {named}: they carry no more than random masks do.")
    if not any(entry.audit for entry in scored):
        sentences.append(
            "That the model leans on the object, or on its context, or that a mask shows this class alone: no audit "
            "of these images, with its control of wrong classes, is at hand."
        )
    if 0 < len(scored) < FEW:
        sentences.append(
            f"Much about other images: {_count(len(scored), 'image')} are few."
            if len(scored) > 1
            else "Anything about other images: this is one."
        )
    return sentences


def compared(labels: Sequence[str], runs: Sequence[dict[str, Entry]]) -> list[str]:
    """Returns what several runs differ in, each beside the first, on the images that both have.

    Args:
        runs: the entries of each run by the image's name.
    """
    from inr_xai.metrics.statistics.bootstrap import mean_interval  # late: most pages compare nothing

    sentences = []
    for label, run in zip(labels[1:], runs[1:], strict=True):
        both = [name for name in runs[0] if name in run]
        gains = torch.tensor([[runs[0][name].gain, run[name].gain] for name in both], dtype=torch.float64).reshape(
            -1, 2
        )
        gains = gains[gains.isfinite().all(1)]
        overlaps = [runs[0][name].overlap(run[name]) for name in both]
        overlaps = [overlap for overlap in overlaps if math.isfinite(overlap)]
        if overlaps:
            sentences.append(
                f"At {_percent(runs[0][both[0]].middle)} of the image, explanation 1 of {labels[0]} and of {label} "
                f"have an IoU of {sum(overlaps) / len(overlaps):.2f}, a mean over {_count(len(overlaps), 'image')}."
            )
        if not len(gains):
            sentences.append(f"{label} has no scores of images that {labels[0]} has.")
            continue
        ours, theirs = gains.mean(0).tolist()
        difference = mean_interval(gains[:, 1] - gains[:, 0])
        sentences.append(
            f"Beyond chance, explanation 1 of {label} keeps a score of {theirs:.2f}, that of {labels[0]} {ours:.2f}; "
            f"{_difference(difference, len(gains))}."
        )
    return sentences


def _difference(difference: "Interval", images: int) -> str:
    if images == 1:
        return "one image says little"
    ends = f"95 % interval {difference.low:+.2f} to {difference.high:+.2f} over {images} images"
    if difference.low <= 0 <= difference.high:
        return f"these images do not tell them apart ({ends})"
    return f"the difference is {difference.value:+.2f} ({ends})"


def _kept(scored: Sequence[Entry]) -> list[str]:
    kept, chance, unseen = (_ratio(scored, column) for column in (KEPT, CHANCE, SEEN_BY_NO_FIT))
    if math.isnan(kept):
        return []
    area = f"{100 * scored[0].middle:.3g} %"
    beside = "" if math.isnan(chance) else f", where random masks of that area keep {_percent(chance)}"
    sentences = [
        f"Explanation 1 at {area} of the image keeps {_percent(kept)} of the class's score when all else is hidden"
        f"{beside}."
    ]
    if not math.isnan(unseen):
        sentences.append(f"Under fillings that no fit has used (noise and other photos) it keeps {_percent(unseen)}.")
    return sentences


def _removed(scored: Sequence[Entry]) -> list[str]:
    left = _ratio(scored, REMOVED)
    return [] if math.isnan(left) else [f"When that part is hidden and all else is kept, {_percent(left)} is left."]


def _carried(scored: Sequence[Entry], most: int) -> list[str]:
    parts = []
    for k in range(most):
        known = [entry.carries[k] for entry in scored if k < len(entry.carries) and entry.carries[k] is not None]
        if not known:
            continue
        count, who = sum(map(bool, known)), f"explanation {k + 1}"
        if len(scored) == 1:
            parts.append(f"{who} carries {'more' if count else 'no more'} than random masks")
        else:
            parts.append(f"{who} carries more than random masks in {_of(count, len(known))}")
    sentences = [f"{', '.join(parts).capitalize()}."] if parts else []
    twice = sum(entry.disjoint and _strong(entry, 1) and _strong(entry, 2) for entry in scored)
    if twice:
        where = "here" if len(scored) == 1 else f"in {_of(twice, len(scored))}"
        sentences.append(
            f"Two parts that share no pixel each keep half of the class's score or more {where}: the evidence stands "
            "there more than once."
        )
    return sentences


def _strong(entry: Entry, explanation: int) -> bool:
    """Returns whether an explanation carries more than chance, and keeps half of the whole image's score or more.

    It must keep so much at one of the fitted areas.
    """
    kept = entry.scores.get(KEPT)
    if kept is None or explanation > len(kept) or entry.whole is None:
        return False
    if explanation > len(entry.carries) or entry.carries[explanation - 1] is not True:
        return False
    return bool((kept[explanation - 1] >= HALF * entry.whole).any())


def _audited(scored: Sequence[Entry]) -> list[str]:
    audits = [entry.audit for entry in scored if entry.audit]
    if not audits:
        return []
    claims = Counter(str(audit.get("evidence")) for audit in audits)
    listed = ", ".join(f"{verdict} {count}" for verdict, count in claims.most_common())
    sentences = [f"The audit's verdicts on {_count(len(audits), 'image')}: {listed}."]
    places = Counter(str(audit["where"]) for audit in audits if audit.get("where"))
    if places:
        listed = ", ".join(f"{place} {count}" for place, count in places.most_common())
        sentences.append(f"Where the evidence lies, as far as the object is known: {listed}.")
    return sentences


def _ratio(entries: Sequence[Entry], column: str) -> float:
    """Returns the mean of a score of explanation 1 at the middle area, over the mean score of whole images."""
    pairs = []
    for entry in entries:
        if column in entry.scores and entry.whole is not None:
            value = float(entry.scores[column][0, entry.areas.index(entry.middle)])
            if math.isfinite(value):
                pairs.append((value, entry.whole))
    whole = sum(under for _, under in pairs)
    return sum(over for over, _ in pairs) / whole if whole > 0 else math.nan


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _of(number: int, total: int) -> str:
    return f"{number} of {_count(total, 'image')}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
