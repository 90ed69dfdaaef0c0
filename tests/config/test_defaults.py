"""The defaults of the Python API are those of the command line, but for the two that `Method` names."""

import re
from dataclasses import fields

import pytest
import torch

from inr_xai.config import composed
from inr_xai.digests import describe
from inr_xai.instantiate import build_method
from inr_xai.method import Method
from inr_xai.perturbation import Blur, Constant, Donor, Mixture, PinkNoise, RandomColour

DIFFERENT = {"areas": ([0.05, 0.1, 0.2, 0.3], [0.05, 0.1, 0.2]), "explanations": (1, 2)}
"""Field of Method -> its default in the Python API, and on the command line."""
NAMES = [field.name for field in fields(Method)]


@pytest.fixture(scope="module")
def configured() -> Method:
    """The method that conf/config.yaml describes."""
    return build_method(composed())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "optimizer"])
def test_a_default_is_the_same_in_the_python_api_and_on_the_command_line(configured: Method, name: str) -> None:
    defaults = describe(getattr(Method(), name)), describe(getattr(configured, name))
    if name in DIFFERENT:
        assert defaults == DIFFERENT[name]
    else:
        assert defaults[0] == defaults[1]


def test_the_optimiser_has_the_same_class_and_options(configured: Method) -> None:
    optimisers = [method.optimizer([torch.nn.Parameter(torch.zeros(1))]) for method in (Method(), configured)]
    assert type(optimisers[0]) is type(optimisers[1]) is torch.optim.Adam
    assert optimisers[0].defaults == optimisers[1].defaults
    assert (optimisers[0].defaults["lr"], optimisers[0].defaults["eps"]) == (0.01, 1e-6)


def test_the_mixture_has_the_same_parts(configured: Method) -> None:
    for method in (Method(), configured):
        assert isinstance(method.perturbation, Mixture)
        assert method.perturbation.needs_donors
        assert [type(part) for part in method.perturbation.parts] == [Blur, Constant, RandomColour, PinkNoise, Donor]


def test_the_docstring_names_the_two_that_differ() -> None:
    text = (Method.__doc__ or "").split("Args:")[0]
    assert "conf/config.yaml" in text
    assert set(re.findall(r"`(\w+)`", text)) & set(NAMES) == set(DIFFERENT)
