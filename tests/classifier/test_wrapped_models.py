"""Models of TorchScript, of torch.compile and of DataParallel are explained as the module that they were made of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inr_xai import INRAttribution
from inr_xai.classifier.start import NoStart
from tests.conftest import pictures, tiny_network

CALL = {"target": [1, 3], "areas": (0.1, 0.3)}
ITSELF = {"a module", "in parallel", "its method"}
"""Those whose parts can be hooked, so that they have the start of the module; the others start from their pixels."""


def in_place() -> nn.Module:
    network = tiny_network()
    network.compile(backend="eager")
    return network


MODELS: dict[str, Callable[[], Any]] = {
    "a module": tiny_network,
    "scripted": lambda: torch.jit.script(tiny_network()),
    "traced": lambda: torch.jit.trace(tiny_network().eval(), pictures(2)),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(tiny_network().eval())),
    "compiled": lambda: torch.compile(tiny_network(), backend="eager"),
    "compiled in place": in_place,
    "in parallel": lambda: nn.DataParallel(tiny_network()),
    "its method": lambda: nn.DataParallel(tiny_network()).eval().forward,
}


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    """The masks of the module, without a start and with the usual one."""
    call = {"inputs": pictures(2), **CALL}
    return [INRAttribution(tiny_network(), steps=2, **start).attribute(**call) for start in ({"start": NoStart()}, {})]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # of torch.compile
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace the builtin:UserWarning")  # in what checks types
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if "compiled" in kind else []) for kind in MODELS]
)
@pytest.mark.slow
def test_it_has_the_masks_of_its_module(kind: str, expected: list[Tensor]) -> None:
    images, model = pictures(2), MODELS[kind]()
    module = model if isinstance(model, nn.Module) else model.__self__
    parts = list(module.modules())
    flags = [(getattr(part, "training", None), len(getattr(part, "_forward_hooks", ()))) for part in parts]
    values = [value.clone() for value in module.state_dict().values()]
    masks = INRAttribution(model, steps=2, start=NoStart()).attribute(images, **CALL)  # type: ignore[arg-type]
    torch.testing.assert_close(masks, expected[0], rtol=0, atol=1e-3)  # a unit in the last place of what is stored
    started = INRAttribution(model, steps=2).attribute(images, **CALL)  # type: ignore[arg-type]
    assert torch.equal(started, expected[1]) == (kind in ITSELF)
    assert (started.mean((-2, -1)) - torch.tensor(CALL["areas"])).abs().max() < 1e-3
    assert not torch.equal(started, masks)  # also the gradient of the pixels is a start
    assert [(getattr(part, "training", None), len(getattr(part, "_forward_hooks", ()))) for part in parts] == flags
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(now, before) for now, before in zip(module.state_dict().values(), values, strict=True))
