"""`explain`: a model and one's own photo in, an `Explanation` out; the masks are those of the command line."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from numbers import Integral
from pathlib import Path
from typing import Any

import lightning
from torch import Tensor

from inr_xai.attribution import require_options
from inr_xai.classifier.class_names import class_index
from inr_xai.classifier.frozen import FrozenClassifier, require_head
from inr_xai.classifier.targets import TargetRule
from inr_xai.errors import UserError, in_python, speaking_python
from inr_xai.explanation.batch import Wanted, explain_jobs
from inr_xai.explanation.explanation import Explanation
from inr_xai.explanation.model import GivenModel
from inr_xai.explanation.pictures import Input, Picture, choose_transform, input_of, picture_of, pictures_in
from inr_xai.explanation.presets import preset_options
from inr_xai.explanation.progress import StepBar, is_watched
from inr_xai.fitting.fit import stack_size
from inr_xai.method import Method
from inr_xai.objective import Logit, ScoreFunction
from inr_xai.runs.loop import reason_of

ClassOf = int | str | None
AT_ONCE = 8
"""Images that are fitted together on an accelerator."""
FEWEST_PHOTOS = 6
NO_TRANSFORM = (
    "transform=None: the evaluation transform of this {kind} is not known (it is, for models of timm and torchvision); "
    "give transform=, such as weights.transforms() of torchvision, Hugging Face's image processor or a Compose that "
    "ends in Normalize, or a preprocessed tensor with input_mean= and input_std="
)
log = logging.getLogger(__name__)


@speaking_python()
def explain(
    model: Any,
    image: Any,
    target: Any = None,
    areas: Sequence[float] = (0.05, 0.1, 0.2),
    explanations: int | str = 2,
    *,
    classes: Sequence[str] | str | Path | None = None,
    transform: Any = None,
    preset: str | None = None,
    head: str = "softmax",
    input_mean: Any = None,
    input_std: Any = None,
    photos: Sequence[Any] = (),
    names: Sequence[str] | None = None,
    progress: bool | None = None,
    callbacks: Any = (),
    **options: Any,
) -> Any:
    """Explains what a classifier needs to see of an image, or of each image of a list.

    The masks are those of the command line: `explain(model, "photo.jpg")` and `inr-xai explain photo.jpg` with the same
    model draw the same.

    Args:
        model: a module (or any callable) that maps inputs b x c x h x w to outputs b x n; it is not changed.
        image: a path, a PIL image, an array h x w x 3 of 8 bits, or a preprocessed tensor c x h x w (which goes to the
            model as it is; to a classifier of this package with values in [0, 1]); or a list of these.
        target: the class to explain, by its index or its name; None for the predicted one. Of a list of images, one
            class for all, or a list.
        areas: the fractions of the image that masks keep.
        explanations: the number of masks for each area, which do not overlap; "auto" for as many as carry enough.
        classes: the names of the classes, or a file of them (see `read_class_names`); models of timm and torchvision
            with ImageNet's classes have its names.
        transform: makes the model's input of a picture; None for the model's own evaluation transform, which is known
            for models of timm and torchvision. See `inr_xai.explanation.transforms.given_transform`.
        preset: "fast" takes a quarter of the classifier passes and keeps about .53 of p where the default keeps .74
            (docs/benchmarks.md), "best" takes twice as many; "gpu" has what is made for a CUDA device;
            "pyramid" is the default of before.
        head: what the outputs are, see `INRAttribution`.
        input_mean, input_std: the statistics with which a tensor was normalised, if no transform is known.
        photos: other images in the same forms, six or more. They stand around the masks in fits and scores, which makes
            masks more reliable; without them, drawn scenes do.
        names: a name for each image, from which its random draws derive; by default the file's name, or a hash.
        progress: show a bar; None where a person watches (a terminal or a notebook).
        callbacks: a list of Lightning's, which see the masks form (`MaskModule`). One that raises
            `inr_xai.fitting.stack.FitStopped` ends the work on its image, which keeps the explanations that have ended;
            on an accelerator, on all images that are fitted together.
        options: any other argument of `inr_xai.Method`, such as steps=200, seed=1, or a `score` of your own, which maps
            what the model returns to one number for each image (docs/any_score.md).

    Returns:
        An `Explanation`, or for a list of images a list. An image of a list that cannot be explained is None there; a
        warning of the log says why, and it costs no other image.

    Raises:
        UserError: bad input, a model that cannot be explained, or no image that could be explained.
    """
    require_options(options)
    require_head(head)
    _require_callbacks(callbacks)
    method = Method(areas=tuple(areas), explanations=explanations, **preset_options(preset) | options)
    score = None if isinstance(method.score, ScoreFunction) else method.score
    if score is not None:
        if target is not None or head not in ("softmax", "none"):
            raise UserError("target and head say which class is explained; leave them out beside a score of your own")
        method, head = replace(method, score=Logit()), "none"
    several = pictures_in(image)
    images = [image] if several is None else several
    task = _Task(GivenModel(model, head=head, classes=classes, score=score), images, target, names, method)
    task.read_images(transform, (input_mean, input_std), photos)
    shown = is_watched() if progress is None else progress
    bar = StepBar(len(images), explanations=method.most, steps=method.steps, shown=shown)
    try:
        task.explain_images(bar, callbacks)
    finally:
        bar.close()
    return task.results() if several is not None else task.result()


class _Task:
    """One call of `explain`: the images of the caller, by their place, and what has become of each.

    Attributes:
        inputs: the images that could be read.
        done: the explanations.
        failures: why there is none.
    """

    def __init__(
        self, model: GivenModel, images: Sequence[Any], target: Any, names: Sequence[str] | None, method: Method
    ):
        if not images:
            raise UserError("image is empty; give at least one image")
        if names is not None and (isinstance(names, str) or len(names) != len(images)):
            raise UserError(f"names must hold one name for each of the {len(images)} images; got {names!r:.80}")
        self.model, self.method = model, method
        self._images, self._names = images, names
        self._targets = _one_each(target, len(images))
        self._photos: list[Tensor] = []
        self.inputs: dict[int, Input] = {}
        self.done: dict[int, Explanation] = {}
        self.failures: dict[int, str] = {}

    def read_images(self, transform: Any, statistics: tuple[Any, Any], photos: Sequence[Any]) -> None:
        """Makes inputs of the images and photos. Raises UserError if no transform is known, or a photo is none."""
        mean, std = statistics
        pictures: dict[int, Picture] = {}
        for place, image in enumerate(self._images):
            try:
                pictures[place] = picture_of(image, None if self._names is None else self._names[place])
            except UserError as error:
                self.failures[place] = str(error)
        tensors = [isinstance(picture.content, Tensor) for picture in pictures.values()]
        own = self.model.transform if transform is None else None
        chosen = choose_transform(own, transform, list(pictures.values()))
        of_tensors = None if transform is None and self.model.takes_images else chosen
        if chosen is None and not all(tensors):
            raise UserError(NO_TRANSFORM.format(kind=type(self.model.inner).__name__))

        def as_input(picture: Picture) -> Input:
            used = of_tensors if isinstance(picture.content, Tensor) else chosen
            return input_of(picture, used, mean=mean, std=std)

        for place, picture in pictures.items():
            try:
                self.inputs[place] = as_input(picture)
            except UserError as error:
                self.failures[place] = str(error)
        self._photos = [as_input(picture_of(photo)).image for photo in photos]
        sizes = {tuple(photo.shape) for photo in self._photos}
        if len(sizes) > 1 or 0 < len(self._photos) < FEWEST_PHOTOS:
            raise UserError(
                f"photos must be {FEWEST_PHOTOS} or more images that become inputs of one size; got "
                f"{len(self._photos)} of {len(sizes)} sizes"
            )

    def explain_images(self, bar: StepBar, callbacks: Sequence[lightning.Callback]) -> None:
        """Explains the images, those of one size together (on a CPU one by one)."""
        watching = [bar, *callbacks]
        bar.next_images(len(self.failures))
        looked: set[tuple[int, ...]] = set()
        for batch in self._batches():
            inputs = [self.inputs[place] for place in batch]
            classifier = self.model.classifier(inputs[0].preprocessing)
            shape = tuple(inputs[0].image.shape)
            if shape not in looked:
                images = [given.image for given in inputs]
                if doubt := self.model.look(classifier, images, at_once=self.method.masks_per_forward):
                    log.warning("%s", in_python(doubt))
                looked.add(shape)
            jobs = [job for place in batch if (job := self._job(place, classifier))]
            self._explain_jobs(jobs, classifier, watching)
            bar.next_images(len(batch))

    def result(self) -> Explanation:
        """Returns the explanation of the only image. Raises UserError if it has none."""
        if self.failures:
            raise UserError(self.failures[0])
        return self.done[0]

    def results(self) -> list[Explanation | None]:
        """Returns the explanations of all images, None for those that failed, of which warnings say why.

        Raises UserError if all failed.
        """
        count = len(self._images)
        if not self.done:
            raise UserError(f"none of {count} images could be explained; image 0: {self.failures[0]}")
        for place, reason in sorted(self.failures.items()):
            log.warning("image %d of %d is not explained: %s", place, count, in_python(reason))
        return [self.done.get(place) for place in range(count)]

    def _batches(self) -> list[list[int]]:
        """Returns the places of the inputs, in batches of one size."""
        size, batches = stack_size(self.method, self.model.device, AT_ONCE), []
        shapes = {place: tuple(given.image.shape) for place, given in self.inputs.items()}
        for _, group in groupby(sorted(shapes, key=lambda place: (shapes[place], place)), key=shapes.__getitem__):
            same = list(group)
            batches += [same[start : start + size] for start in range(0, len(same), size)]
        return sorted(batches)

    def _job(self, place: int, classifier: FrozenClassifier) -> Wanted | None:
        """Returns an image with its class; None if it has none."""
        given, wanted = self.inputs[place], self._targets[place]
        try:
            if isinstance(wanted, str):
                wanted = class_index(wanted, classifier.class_names)
            # A model of one score has no predicted class, and needs none.
            rule = TargetRule(wanted if wanted is not None else "label" if classifier.head == "none" else "predicted")
            return Wanted(place, given, rule.choose(classifier, given.image.to(self.model.device), None, given.name))
        except UserError as error:
            self.failures[place] = str(error)
        return None

    def _explain_jobs(
        self, jobs: Sequence[Wanted], classifier: FrozenClassifier, callbacks: Sequence[lightning.Callback]
    ) -> None:
        """Explains images together; if they fail together, one by one."""
        if not jobs:
            return
        options: dict[str, Any] = {"photos": self._photos, "device": self.model.device, "callbacks": callbacks}
        try:
            results = explain_jobs(jobs, classifier, self.method, **options)
        except Exception as error:  # a classifier may raise anything
            if len(jobs) == 1:
                if len(self._images) == 1:
                    raise
                self.failures[jobs[0].place] = reason_of(error)
                return
            for job in jobs:
                self._explain_jobs([job], classifier, callbacks)
            return
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, str):
                self.failures[job.place] = result
            else:
                self.done[job.place] = result


def _require_callbacks(callbacks: Any) -> None:
    """Raises UserError unless these are Lightning's callbacks, in a list."""
    if not isinstance(callbacks, list | tuple) or not all(isinstance(one, lightning.Callback) for one in callbacks):
        raise UserError(
            "callbacks must be a list of objects of subclasses of lightning.Callback, such as [MyCallback()]; "
            f"got {callbacks!r:.80}"
        )


def _one_each(target: Any, count: int) -> list[ClassOf]:
    """Returns the class of each image. Raises UserError unless there is one, or one for each."""
    values = target.tolist() if hasattr(target, "tolist") else target
    single = values is None or isinstance(values, str | Integral)
    targets = [values] * count if single else list(values) if isinstance(values, list | tuple) else []
    known = [one is None or (isinstance(one, str | Integral) and not isinstance(one, bool)) for one in targets]
    if len(targets) != count or not all(known):
        raise UserError(
            f"target must be a class index or a name, or one for each of the {count} images; got {target!r:.80}"
        )
    return [one if one is None or isinstance(one, str) else int(one) for one in targets]
