"""The table of moved classes: every new path exists, and both directions answer."""

import importlib

import pytest

from inr_xai.moved import MOVED, ONCE_MODULES, SPLIT, new_path, old_path, with_new_paths, with_old_paths


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_class_is_where_the_table_says(old: str, new: str) -> None:
    module, _, name = new.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert (new_path(old), old_path(new)) == (new, old)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_module_and_name_may_be_parted_by_a_colon(old: str, new: str) -> None:
    old_colon, new_colon = (":".join(path.rsplit(".", 1)) for path in (old, new))
    assert (new_path(old_colon), old_path(new_colon)) == (new_colon, old_colon)


@pytest.mark.parametrize("old", [*MOVED, *SPLIT])
def test_what_has_moved_is_gone_from_its_old_place(old: str) -> None:
    module, _, name = old.rpartition(".")
    try:
        place = importlib.import_module(module)
    except ImportError:
        return
    assert name not in vars(place) or place.__name__ == "inr_xai.method"  # which imports two of them for its own use


@pytest.mark.parametrize("module", ONCE_MODULES)
def test_a_class_of_a_module_that_became_a_package_is_named_as_before(module: str) -> None:
    homes = {name: part.__module__ for name, part in vars(importlib.import_module(module)).items() if callable(part)}
    homes = {name: home for name, home in homes.items() if home.startswith(f"{module}.")}
    assert homes
    for name, home in homes.items():
        assert new_path(f"{module}.{name}") == f"{module}.{name}"
        assert old_path(f"{home}.{name}") == old_path(f"{module}.{name}")
        assert old_path(f"{home}:{name}") == old_path(f"{module}:{name}")
    assert old_path(f"{module}.no.path.of.a.class") == f"{module}.no.path.of.a.class"


def test_other_paths_stay_as_they_are() -> None:
    for path in ("torch.optim.Adam", "inr_xai.area.AreaProjection", "inr_xai.area:AreaProjection"):
        assert new_path(path) == old_path(path) == path


def test_paths_are_found_at_any_depth() -> None:
    stored = {
        "jitter": {"_target_": "inr_xai.jitter.Jitter", "shift": 0.1},
        "parts": [{"_target_": "inr_xai.reveal.Reveal"}, "inr_xai.reveal.Reveal", None],
    }
    assert with_new_paths(stored) == {
        "jitter": {"_target_": "inr_xai.perturbation.Jitter", "shift": 0.1},
        "parts": [{"_target_": "inr_xai.perturbation.Reveal"}, "inr_xai.reveal.Reveal", None],
    }
    assert with_old_paths(with_new_paths(stored)) == stored
