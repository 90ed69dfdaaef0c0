"""Weights from a local file: read without unpickling code, unwrapped, and compared with the model before loading."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from inr_xai.errors import UserError

WRAPPINGS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
COUNTER = "num_batches_tracked"
State = dict[str, Tensor]


def read_state(file: str | Path) -> State:
    """Returns the tensors of a .safetensors or PyTorch file, without the usual wrappings.

    Raises UserError if the file cannot be read or holds no tensors.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"classifier.checkpoint={str(file)!r} is no file; give a local .safetensors or .pth file")
    content = read_safetensors(path) if path.suffix.lower() == ".safetensors" else read_torch(path)
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPINGS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"classifier.checkpoint={str(file)!r} holds no state dict of tensors; save model.state_dict() into it"
        )
    return dict(content)


def read_safetensors(path: Path) -> State:
    """Returns the tensors of a .safetensors file. Raises UserError if it is not one."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"classifier.checkpoint={str(path)!r} is no safetensors file ({error}); save it anew"
        ) from error


def read_torch(path: Path) -> Any:
    """Returns what torch.save wrote, if it is tensors and plain values only: code in the file is never run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise UserError(
            f"classifier.checkpoint={str(path)!r} cannot be loaded safely ({type(error).__name__}: {reason}); "
            "save model.state_dict() alone, or a .safetensors file"
        ) from error


def without_prefix(state: State, model: nn.Module) -> State:
    """Returns the state without prefixes that all its keys share ("module.", "model.") and the model's keys lack."""
    expected = model.state_dict().keys()
    while not expected & state.keys():
        heads = {key.partition(".")[0] for key in state}
        if len(heads) > 1 or not all("." in key for key in state):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    return state


def classes_by_shape(state: State, model: nn.Module, classes: int) -> int | None:
    """Returns how many classes the head of a checkpoint has; None if the head is not in it or is not unique.

    Args:
        model: a model whose head has the same key.
        classes: how many classes the model has, by which its head is recognised.
    """
    heads = [key for key, value in model.state_dict().items() if value.ndim >= 2 and value.shape[0] == classes]
    counts = {state[key].shape[0] for key in heads if key in state}
    return counts.pop() if len(counts) == 1 else None


def mismatch(state: State, model: nn.Module) -> str | None:
    """Returns why the state does not fit the model, or None if it does."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith(COUNTER)]
    unexpected = [key for key in state if key not in expected]
    reshaped = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} keys are missing (first: {missing[0]})")
    if unexpected:
        parts.append(f"{len(unexpected)} are unexpected (first: {unexpected[0]})")
    if reshaped:
        key = reshaped[0]
        shapes = f"{tuple(state[key].shape)}, the model's is {tuple(expected[key].shape)}"
        parts.append(f"{len(reshaped)} differ in shape (first: {key} is {shapes})")
    return ", ".join(parts) or None


def load_into(model: nn.Module, state: State, *, name: str, file: str | Path) -> None:
    """Loads a state into the model. Raises UserError if it does not fit."""
    reason = mismatch(state, model)
    if reason is not None:
        raise UserError(
            f"classifier.checkpoint={str(file)!r} is not one of {name}: {reason}; give a checkpoint of {name}, "
            "or the classifier.name of the checkpoint"
        )
    initial = model.state_dict()
    # Files carry no versions of layers. As every shape fits, the versions are those of the model.
    complete = OrderedDict((key, state.get(key, value)) for key, value in initial.items())
    complete._metadata = initial._metadata  # type: ignore[attr-defined]
    model.load_state_dict(complete)
