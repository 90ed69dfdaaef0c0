"""Weights from a local file: chosen among what the file holds, compared with the model before loading."""

import logging
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inr_xai.classifier import pickles
from inr_xai.errors import UserError, did_you_mean

log = logging.getLogger(__name__)

USUAL = (
    *("state_dict", "model_state_dict", "model_state", "state", "model", "net", "network", "module", "params"),
    *("weights", "classifier", "student", "backbone", "encoder"),
)
"""Usual names of the part of a file that holds the weights; an earlier one is preferred."""
AVERAGED = ("ema", "averaged", "average", "swa", "teacher")
"""Words in the name of a part that holds averaged weights, which are preferred to raw ones, as libraries do."""
TRAINING = ("optim", "sched", "lr_sched", "scaler", "amp", "callbacks", "loops", "rng")
"""Beginnings of the names of parts that hold the state of a training and no weights."""
WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Names that wrappers put into keys: DataParallel, torch.compile, Fabric, FSDP and activation checkpoints."""
COUNTER = "num_batches_tracked"
DERIVED = (COUNTER, "total_ops", "total_params", "attn_mask", "relative_position_index", "attention_bias_idxs")
"""Ends of keys that no result depends on: a model computes these itself, or a profiler has left them."""
NAMED = 4  # keys that a message names
State = dict[str, Tensor]


@dataclass(frozen=True)
class FoundWeights:
    """Weights of a file that have all of a model's keys.

    Args:
        path: where they are: names of dicts, then the prefix that their keys share.
        state: tensors by the model's keys; also those of keys that belong to the model's parts but not to the model.
        sources: paths of these tensors in the file.
    """

    path: str
    state: State
    sources: set[str]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Args:
        file: as it was given.
        tensors: by the names of the dicts they are in and their keys, joined by dots.
        parts: the paths of the dicts that hold tensors.
    """

    file: str
    tensors: State
    parts: tuple[str, ...]

    def state_for(self, model: nn.Module) -> State:
        """Returns the weights by the model's keys: those under one prefix that has all of them, if there is one.

        What was taken and left out is logged. Otherwise returns the first of `guesses`, for a message.

        Raises:
            UserError: several prefixes have all of the model's keys, and none is preferred.
        """
        candidates = list(self._candidates(model))
        complete = [candidate for candidate in candidates if not unexpected(candidate.state, model)]
        if not complete:
            return (candidates or self.guesses(model))[0].state
        best = self._preferred([c for c in complete if mismatch(c.state, model) is None] or complete)
        others = [c.path for c in complete if c is not best and not same(c.state, best.state)]
        taken = {source for candidate in complete for source in candidate.sources}
        self._report(best, others, [key for key in self.tensors if key not in taken])
        return best.state

    def _candidates(self, model: nn.Module) -> Iterator[FoundWeights]:
        """Yields the weights under each prefix that has all of the model's keys."""
        initial = model.state_dict()
        needed = [key for key in initial if not key.endswith(COUNTER)]
        exact = {path: path for path in self.tensors}
        for plain in (False, True):  # first by the keys as they are, then by the keys without the names of wrappers
            names = without_wrappers(exact) if plain else exact
            wanted = without_wrappers({key: key for key in initial}) if plain else {key: key for key in initial}
            required = [name for name, key in wanted.items() if key in needed]
            if not required or len(required) != len(needed):
                return
            anchor = max(required, key=len)
            starts = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
            found = [start for start in starts if all(start + name in names for name in required)]
            for start in found:
                rest = {name.removeprefix(start): path for name, path in names.items() if name.startswith(start)}
                chosen = {wanted.get(name, name): path for name, path in rest.items()}
                kept = {key: path for key, path in chosen.items() if key in initial or belongs(key, model)}
                state = {key: self.tensors[path] for key, path in kept.items()}
                yield FoundWeights(start.rstrip("."), state, set(kept.values()))
            if found:
                return

    def _preferred(self, candidates: list[FoundWeights]) -> FoundWeights:
        """Returns the preferred one of several weights. Raises UserError if no rule prefers one."""
        ranks = {candidate.path: preference(candidate.path) for candidate in candidates}
        first = [candidate for candidate in candidates if ranks[candidate.path] == min(ranks.values())]
        if any(not same(first[0].state, other.state) for other in first[1:]):
            paths = ", ".join(candidate.path or "(root)" for candidate in first)
            raise UserError(
                f"classifier.checkpoint={self.file!r} holds several different weights of the model ({paths}); choose "
                "with classifier.checkpoint_key"
            )
        return first[0]

    def guesses(self, model: nn.Module) -> list[FoundWeights]:
        """Returns what may be the weights if the keys are not the model's, for a library that knows other names.

        They are the tensors under the prefix with most of the model's keys, and those of the file's preferred dict.
        """
        expected = model.state_dict().keys()
        counts: Counter[str] = Counter()
        for path in self.tensors:
            words = path.split(".")
            ends = (".".join(words[number:]) for number in range(len(words)))
            counts.update(path.removesuffix(end) for end in ends if end in expected)
        nearest = [min(counts, key=lambda prefix: (-counts[prefix], preference(prefix)))] if counts else []
        part = min(self.parts, key=preference)
        start = f"{part}." if part else ""
        paths = [path.split(".")[:-1] for path in self.tensors if path.startswith(start)]
        columns = takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))
        shared = "".join(f"{names[0]}." for names in columns)
        return [self._below(start) for start in dict.fromkeys([*nearest, shared])]

    def _below(self, start: str) -> FoundWeights:
        """Returns the tensors whose paths begin so, by the rest of their paths."""
        state = {path.removeprefix(start): value for path, value in self.tensors.items() if path.startswith(start)}
        return FoundWeights(start.rstrip("."), state, {start + key for key in state})

    def _report(self, best: FoundWeights, others: list[str], left: list[str]) -> None:
        """Logs in one line which weights were taken and what was left out, if there was a choice."""
        parts = []
        if others:
            passed = first_few([path or "(root)" for path in others])
            parts.append(
                f"took the weights of {best.path or '(root)'} and not of {passed} (classifier.checkpoint_key chooses)"
            )
        elif best.path:
            parts.append(f"took the weights of {best.path}")
        left = [key for key in left if not key.endswith(DERIVED)]
        if left:
            parts.append(f"left out {len(left)} other tensors ({first_few(left)})")
        if parts:
            log.info("classifier.checkpoint=%r: %s", self.file, ", ".join(parts))
        statistics = [key for key in left if key.rpartition(".")[2].removeprefix("pixel_") in ("mean", "std")]
        if statistics:
            values = "; ".join(f"{key} = {self.tensors[key].flatten()[:3].tolist()}" for key in statistics)
            log.warning(
                "classifier.checkpoint=%r: a normalisation within the model was left out (%s); the inputs must be "
                "normalised so by classifier.mean and classifier.std",
                self.file,
                values,
            )


def read_state(file: str | Path, key: str | None = None) -> Checkpoint:
    """Returns the tensors of a .safetensors or PyTorch file.

    Args:
        key: names of dicts in the file and prefixes of keys, joined by dots, below which the tensors are taken; None
            takes all.

    Raises:
        UserError: the file cannot be read safely, holds no tensors, or none below `key`.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"classifier.checkpoint={str(file)!r} is no file; give a local .safetensors or .pth file")
    key = None if key is None else str(key)
    content = pickles.read(path, key)
    tensors = dict(tensors_in(content, key or ""))
    if not tensors:
        raise UserError(
            f"classifier.checkpoint={str(file)!r} holds no state dict of tensors ({described(content)}); save "
            "model.state_dict() into it"
        )
    found = {path: part for path, part in tensors.items() if key is None or path.startswith(f"{key}.")}
    if not found:
        paths = list(dict.fromkeys(part or path.partition(".")[0] for path, (_, part) in tensors.items()))
        raise UserError(
            f"classifier.checkpoint_key={key!r} is not in {str(file)!r}, which holds tensors below "
            f"{first_few(paths)}{did_you_mean(key or '', paths)}"
        )
    parts = dict.fromkeys(part for _, part in found.values())
    return Checkpoint(str(file), {path: value for path, (value, _) in found.items()}, tuple(parts))


def tensors_in(content: Any, key: str, path: str = "") -> Iterator[tuple[str, tuple[Tensor, str]]]:
    """Yields each tensor of nested dicts by its path, with the path of its dict.

    The state of a training is passed over, unless the key names a part of it.
    """
    if not isinstance(content, Mapping):
        return
    for name, value in content.items():
        full = f"{path}.{name}" if path else str(name)
        if isinstance(value, Tensor):
            yield full, (value.detach(), path)
        elif not str(name).startswith(TRAINING) or f"{key}.".startswith(f"{full}."):
            yield from tensors_in(value, key, full)


def described(content: Any) -> str:
    """Returns what a file without weights holds: its first keys, or its kind."""
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}"
    return f"it holds {first_few(list(leaves(content)))}" if content else "it is empty"


def leaves(content: Mapping[Any, Any], path: str = "") -> Iterator[str]:
    """Yields the path and the kind of each thing in nested dicts."""
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{name}.")
        else:
            home = f"{type(value).__module__}." if isinstance(value, pickles.StandIn) else ""
            yield f"{path}{name}: {home}{type(value).__name__}"


def first_few(words: list[str]) -> str:
    """Returns the first few of the words.

    >>> first_few(["a", "b", "c", "d", "e"])
    'a, b, c, d, ...'
    """
    return ", ".join(words[:NAMED]) + (", ..." if len(words) > NAMED else "")


def preference(path: str) -> tuple[bool, int]:
    """Returns the rank of the weights at a path, the least for the preferred: averaged ones, then usual names.

    >>> preference("model_ema.module") < preference("state_dict") < preference("model") < preference("best")
    True
    """
    words = path.strip(".").split(".")
    averaged = any(word in AVERAGED for word in re.split(r"[^a-z]+", path.lower()))
    return not averaged, min(USUAL.index(name) if name in USUAL else len(USUAL) for name in words)


def without_wrappers(paths: Mapping[str, str]) -> dict[str, str]:
    """Returns the values by keys without the names of wrappers; keys that then are one are left out."""
    plain = [(".".join(word for word in name.split(".") if word not in WRAPPERS), path) for name, path in paths.items()]
    counts = Counter(name for name, _ in plain)
    return {name: path for name, path in plain if counts[name] == 1}


def belongs(key: str, model: nn.Module) -> bool:
    """Returns whether a key that the model lacks names something within one of its parts.

    Such a key says that the checkpoint is of another network, for example of one with more layers. A loss weight or the
    state of a metric stands beside the model's parts.
    """
    first = key.partition(".")[0]
    # Methods of nn.Module, such as state_dict, are no parts; an attribute that is None is a part left out.
    own = vars(model).keys() | model._modules.keys() | model._parameters.keys() | model._buffers.keys()
    return not key.endswith(DERIVED) and (first in own or first.isdigit())


def same(state: State, other: State) -> bool:
    """Returns whether two states hold the same tensors."""
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def unexpected(state: State, model: nn.Module) -> list[str]:
    """Returns the keys of a state that the model lacks."""
    expected = model.state_dict().keys()
    return [key for key in state if key not in expected and not key.endswith(DERIVED)]


def classes_by_shape(state: State, model: nn.Module, classes: int) -> int | None:
    """Returns how many classes the head of a checkpoint has; None if the head is not in it or is not unique.

    Args:
        model: a model whose head has the same key.
        classes: how many classes the model has, by which its head is recognised.
    """
    heads = [key for key, value in model.state_dict().items() if value.ndim >= 2 and value.shape[0] == classes]
    counts = {state[key].shape[0] for key in heads if key in state}
    return counts.pop() if len(counts) == 1 else None


def reshaped(state: State, model: nn.Module) -> list[str]:
    """Returns the keys whose tensors have another shape in the model."""
    expected = model.state_dict()
    return [key for key in expected if key in state and expected[key].shape != state[key].shape]


def coded(state: State, model: nn.Module) -> list[str]:
    """Returns the keys whose tensors are no floating-point numbers, as the model's are: quantised weights."""
    floats = [key for key, value in model.state_dict().items() if value.is_floating_point()]
    return [key for key in floats if key in state and not state[key].is_floating_point()]


def mismatch(state: State, model: nn.Module) -> str | None:
    """Returns why the state does not fit the model, or None if it does."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith(COUNTER)]
    extra = unexpected(state, model)
    parts = []
    if missing:
        parts.append(f"{len(missing)} keys are missing (first: {missing[0]})")
    if extra:
        parts.append(f"{len(extra)} are unexpected (first: {extra[0]})")
    if differ := reshaped(state, model):
        key = differ[0]
        shapes = f"{tuple(state[key].shape)}, the model's is {tuple(expected[key].shape)}"
        parts.append(f"{len(differ)} differ in shape (first: {key} is {shapes})")
    if integers := coded(state, model):
        key = integers[0]
        parts.append(f"{len(integers)} are no floating-point numbers (first: {key} is {state[key].dtype})")
    return ", ".join(parts) or None


def load_into(model: nn.Module, state: State, *, name: str, file: str | Path, hint: str = "") -> None:
    """Loads a state into the model. Raises UserError, with the hint at its end, if it does not fit."""
    reason = mismatch(state, model)
    if reason is not None:
        raise UserError(
            f"classifier.checkpoint={str(file)!r} is not one of {name}: {reason}; give a checkpoint of {name}, "
            f"or the classifier.name of the checkpoint{hint}"
        )
    initial = model.state_dict()
    # Files carry no versions of layers. As every shape fits, the versions are those of the model.
    complete = OrderedDict((key, state.get(key, value)) for key, value in initial.items())
    complete._metadata = initial._metadata  # type: ignore[attr-defined]
    try:
        model.load_state_dict(complete)
    except RuntimeError as error:  # tensors without values (meta), or sparse ones
        raise UserError(
            f"classifier.checkpoint={str(file)!r} cannot be copied into {name} ({' '.join(str(error).split())[:300]}); "
            "save its weights as dense tensors"
        ) from error
