"""PyTorch files read without running what they hold: objects that are no tensors become empty stand-ins.

A checkpoint of a training program also holds its settings (a DictConfig, a Namespace, a Path, NumPy scalars). PyTorch
refuses such classes. Here the harmless ones are allowed by name, and what is made in their place is a class of this
module that keeps nothing and does nothing. So neither the real class nor any code of the file runs.
"""

import re
import shlex
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from inr_xai.errors import UserError


class StandIn:
    """An object of a file that is no tensor: it takes any arguments and any state, and forgets them."""

    def __new__(cls, *_: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class DictStandIn(StandIn):
    """A dict of some library's own class, as the plain kind that PyTorch fills with items."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class ListStandIn(StandIn):
    """A list of another class, as a plain list."""

    def __new__(cls, *_: Any) -> Any:
        return []


_LIGHTNING = ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric")
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
_ARRAYS = "scalar _reconstruct"
_NUMBERS = "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"
HARMLESS: dict[type[StandIn], dict[str, str]] = {
    StandIn: {
        "omegaconf.dictconfig": "DictConfig",
        "omegaconf.listconfig": "ListConfig",
        "omegaconf.base": "ContainerMetadata Metadata UnionNode",
        "omegaconf.nodes": "AnyNode StringNode IntegerNode FloatNode BooleanNode BytesNode PathNode EnumNode",
        "typing": "Any Union Optional List Dict Tuple",
        "argparse": "Namespace",
        "types": "SimpleNamespace",
        "pathlib": _PATHS,
        "pathlib._local": _PATHS,
        "numpy": f"dtype ndarray str_ bytes_ {_NUMBERS}",
        "numpy.core.multiarray": _ARRAYS,
        "numpy._core.multiarray": _ARRAYS,
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "datetime": "datetime date time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "uuid": "UUID",
        "collections": "ChainMap",
        "builtins": "dict list tuple int float bool str bytes frozenset range slice",
        "torch.torch_version": "TorchVersion",
        "mmengine.logging.history_buffer": "HistoryBuffer",
        **{f"{library}.callbacks.model_checkpoint": "ModelCheckpoint" for library in _LIGHTNING},
        **{f"{library}.callbacks.early_stopping": "EarlyStopping" for library in _LIGHTNING},
    },
    DictStandIn: {
        "collections": "defaultdict",
        "yacs.config": "CfgNode",
        "fvcore.common.config": "CfgNode",
        "easydict": "EasyDict",
        "addict.addict": "Dict",
        "munch": "Munch",
        "mmengine.config.config": "ConfigDict",
        "mmcv.utils.config": "ConfigDict",
        **{f"{library}.utilities.parsing": "AttributeDict" for library in _LIGHTNING},
        **{f"{library}.utilities.data": "AttributeDict" for library in _LIGHTNING},
    },
    ListStandIn: {"collections": "deque"},
}
"""By what stands in for them: the modules and names of classes that a checkpoint may hold beside its tensors."""

# PyTorch knows an allowed class by its module and name, so a stand-in carries those of the class it stands for.
STAND_INS = [
    type(name, (kind,), {"__module__": module, "__qualname__": name})
    for kind, modules in HARMLESS.items()
    for module, names in modules.items()
    for name in names.split()
]
OTHER_FORMATS = {
    b"version https://git-lfs": "the pointer of a Git LFS file; fetch the file itself with git lfs pull",
    b"\x93NUMPY": "a NumPy file; save the model's state_dict() instead",
    b"\x89HDF": "an HDF5 file of Keras; convert it to a state dict of PyTorch",
    b"\x1f\x8b": "a compressed file; unpack it first",
    b"{": "JSON; give the file of weights itself",
    b"<": "a web page; download the file of weights itself",
}
"""First bytes of files that are often given instead of weights, and what they are."""


def read(path: Path, key: str | None) -> Any:
    """Returns what a file of weights holds, by its content and not by its name.

    Args:
        key: the part of the file that is asked for, which the line that converts a refused file names.

    Raises:
        UserError: the file cannot be read, or holds objects that are not known to be harmless.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f"classifier.checkpoint={str(path)!r} cannot be read ({error.strerror})") from error
    if not start.startswith(b"PK") and (path.suffix.lower() == ".safetensors" or start[8:9] == b"{"):
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"classifier.checkpoint={str(path)!r} is no safetensors file ({error}); save it anew"
            ) from error
    if path.suffix.lower() == ".npz":
        raise UserError(
            f"classifier.checkpoint={str(path)!r} is a NumPy archive; load it with the model's own load_pretrained and "
            "save model.state_dict() instead"
        )
    for magic, words in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise UserError(f"classifier.checkpoint={str(path)!r} cannot be loaded safely: it is {words}")
    try:
        # An open file has no suffix, by which PyTorch would choose the format.
        with path.open("rb") as file, torch.serialization.safe_globals(list(STAND_INS)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"classifier.checkpoint={str(path)!r} {_refusal(path, key, error)}") from error


def _refusal(path: Path, key: str | None, error: Exception) -> str:
    """Returns why PyTorch refused a file, and how its owner converts it."""
    text = str(error)
    blamed = re.search(r"GLOBAL (\S+)|reduce for unrecognized function (.+?)(?: which|$)|but got (<class .*>)", text)
    script, archive = "TorchScript" in text, "legacy .tar format" in text
    if blamed is not None:
        reason = f"it holds the object {next(filter(None, blamed.groups()))}, which may run code"
    elif script or archive:
        reason = "it is a TorchScript archive" if script else "it has PyTorch's .tar format of 2017"
    else:
        reason = text.split("\n")[0].split(". ")[0] or "it is empty or cut off"
    cause = f"cannot be loaded safely ({type(error).__name__}: {reason}); save model.state_dict() alone"
    if blamed is None and not script and not archive:  # the file is damaged, or of another format
        return f"{cause}, or a .safetensors file"
    if script:
        code = f"import torch; torch.save(torch.jit.load({str(path)!r}, 'cpu').state_dict(), 'weights.pth')"
    else:
        part = "next((c[k] for k in ('state_dict', 'model_state_dict', 'model') if isinstance(c, dict) and k in c), c)"
        if key:
            part = f"c.get({key.partition('.')[0]!r}, c)"
        code = (
            f"import torch; c = torch.load({str(path)!r}, map_location='cpu', weights_only=False); c = {part}; "
            "torch.save(getattr(c, 'state_dict', lambda: c)(), 'weights.pth')"
        )
    quoted = shlex.quote(code) if re.search(r'["$`\\]', code) else f'"{code}"'
    return f"{cause}, or, only if you trust the file, convert it: python -c {quoted}"
