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
    """The tensors of a .safetensors file or of a PyTorch file, taken out of the usual wrappings."""
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
    """The tensors of a .safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"classifier.checkpoint={str(path)!r} is no safetensors file ({error}); save it anew"
        ) from error


def read_torch(path: Path) -> Any:
    """What torch.save wrote, tensors and plain values only: code in the file is never run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise UserError(
            f"classifier.checkpoint={str(path)!r} cannot be loaded safely ({type(error).__name__}: {reason}); "
            "save model.state_dict() alone, or a .safetensors file"
        ) from error


def aligned(state: State, model: nn.Module) -> State:
    """The state without a prefix that all its keys share ("module.", "model.") where the model's keys have none."""
    expected = model.state_dict().keys()
    while not expected & state.keys():
        heads = {key.partition(".")[0] for key in state}
        if len(heads) > 1 or not all("." in key for key in state):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    return state


def rows(state: State, model: nn.Module, classes: int) -> int | None:
    """How many classes the checkpoint's head has, where the model's, of `classes`, is among the same keys."""
    heads = [key for key, value in model.state_dict().items() if value.ndim >= 2 and value.shape[0] == classes]
    found = {state[key].shape[0] for key in heads if key in state}
    return found.pop() if len(found) == 1 else None


def mismatch(state: State, model: nn.Module) -> str | None:
    """What keeps the state from being the model's, None where nothing does."""
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith(COUNTER)]
    unexpected = [key for key in state if key not in own]
    other = [key for key in own if key in state and own[key].shape != state[key].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} keys are missing (first: {missing[0]})")
    if unexpected:
        parts.append(f"{len(unexpected)} are unexpected (first: {unexpected[0]})")
    if other:
        shapes = f"{tuple(state[other[0]].shape)}, the model's is {tuple(own[other[0]].shape)}"
        parts.append(f"{len(other)} differ in shape (first: {other[0]} is {shapes})")
    return ", ".join(parts) or None


def load_into(model: nn.Module, state: State, *, name: str, file: str | Path) -> None:
    """Loads a state that fits. Raises UserError where it does not."""
    wrong = mismatch(state, model)
    if wrong is not None:
        raise UserError(
            f"classifier.checkpoint={str(file)!r} is not one of {name}: {wrong}; give a checkpoint of {name}, "
            "or the classifier.name of the checkpoint"
        )
    own = model.state_dict()
    # Files carry no layer versions; as every shape fits, they are the model's own.
    complete = OrderedDict((key, state.get(key, value)) for key, value in own.items())
    complete._metadata = own._metadata  # type: ignore[attr-defined]
    model.load_state_dict(complete)
