"""The fine-tuning for single deletion: which patches are deleted, and that its weights are a classifier again."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inr_xai.classifier.demo_network import SIZE, DemoNetwork, demo_network
from inr_xai.seeding import generator
from tests.helpers.scripts import script_module


def test_half_of_the_images_lack_one_patch_and_all_patches_are_as_likely() -> None:
    script, count = script_module("finetune_single_deletion"), 1000
    changed = script.without_patches(torch.ones(count, 1, SIZE, SIZE), generator(0, "patches"))[:, 0] != 1
    lacking = changed.flatten(1).any(1)
    assert float(lacking.float().mean()) == pytest.approx(0.5, abs=4.5 * 0.5 / count**0.5)
    assert set(changed[lacking].sum((1, 2)).tolist()) == {(SIZE // 4) ** 2}
    corners = changed[lacking][:, :: SIZE // 4, :: SIZE // 4]  # one pixel of each patch
    assert corners.sum((1, 2)).unique().tolist() == [1]
    share = corners.float().mean(0)
    assert (share - 1 / 16).abs().max() < 4.5 * (15 / 256 / int(lacking.sum())) ** 0.5
    assert script.patches().sum(0).unique().tolist() == [1]


@pytest.mark.slow
def test_a_step_changes_the_weights_and_they_load_again(tmp_path: Path) -> None:
    script, file = script_module("finetune_single_deletion"), tmp_path / "weights.safetensors"
    network = demo_network()
    script.finetune(network, steps=1, seed=0, batch=8)
    script.write(network, file)
    assert not network.training
    again = DemoNetwork()
    again.load_state_dict(load_file(file))
    assert not torch.equal(again.output.weight, demo_network().output.weight)
    torch.testing.assert_close(again.output.weight, demo_network().output.weight, rtol=0, atol=1e-2)
