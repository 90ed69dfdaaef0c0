"""Sources of classifiers: they find weights, load them into the network, and say what is wrong with them."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from inr_xai.classifier import custom, demo, from_timm, from_torchvision
from inr_xai.classifier import hub as hub_module
from inr_xai.classifier.checkpoint import read_state
from inr_xai.classifier.hub import require_reachable
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing
from tests.classifier.test_frozen import network


def test_demo_is_the_trained_network_at_its_size() -> None:
    classifier = demo()
    assert classifier.preprocessing == Preprocessing((96, 96), 96, "bilinear", (0.5,) * 3, (0.25,) * 3)
    with classifier.frozen("cpu", torch.float32), torch.no_grad():
        assert classifier(torch.rand(2, 3, 96, 96)).shape == (2, 8)


def test_custom_reads_checkpoints_in_their_usual_wrappings(tmp_path: Path) -> None:
    trained = network()
    nn.init.normal_(trained.fc.weight, generator=torch.Generator().manual_seed(9))
    state = trained.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "c.pt")
    torch.save({"model": {"state_dict": {f"_orig_mod.model.{k}": v for k, v in state.items()}}}, tmp_path / "d.bin")
    torch.save({k: v for k, v in state.items() if "tracked" not in k}, tmp_path / "e.ckpt")
    for file in sorted(tmp_path.iterdir()):
        model = network()
        classifier = custom(model, input_size=8, resize=10, checkpoint=file)
        assert torch.equal(model.fc.weight, trained.fc.weight), file
        assert classifier.preprocessing.size == (8, 8)


def test_checkpoint_of_another_architecture_is_described(tmp_path: Path) -> None:
    state = network(7).state_dict()
    state["extra.weight"] = torch.zeros(1)
    del state["conv.weight"]
    torch.save(state, tmp_path / "a.pth")
    message = (
        r"is not one of Sequential: 1 keys are missing \(first: conv.weight\), 1 are unexpected \(first: extra.weight\)"
        r", 2 differ in shape \(first: fc.weight is \(7, 144\), the model's is \(5, 144\)\); give"
    )
    with pytest.raises(UserError, match=message):
        custom(network(), checkpoint=tmp_path / "a.pth")


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    torch.save({"state_dict": network().state_dict(), "x": Malicious(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"cannot be loaded safely .*save model.state_dict\(\) alone"):
        read_state(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no file; give a local .safetensors or .pth file"):
        read_state(tmp_path / "absent.pth")
    (tmp_path / "a.pth").write_text("text")
    (tmp_path / "a.safetensors").write_text("text")
    torch.save({"lr": 0.1}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"cannot be loaded safely"):
        read_state(tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"is no safetensors file"):
        read_state(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"holds no state dict of tensors"):
        read_state(tmp_path / "b.pth")


def test_custom_checks_its_options() -> None:
    with pytest.raises(UserError, match=r"classifier.model is a function"):
        custom(lambda x: x)
    with pytest.raises(UserError, match=r"classifier.mean has 1 and classifier.std 3 values"):
        custom(network(), mean=[0.5])
    for option in ({"mean": 0.5}, {"std": [1.0, float("inf"), 1.0]}, {"mean": ["a"] * 3}, {"std": "abc"}, {"mean": []}):
        with pytest.raises(UserError, match=r"is not allowed; give finite numbers, one per channel"):
            custom(network(), **option)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"classifier.resize=0 is not allowed"):
        custom(network(), resize=0)
    with pytest.raises(UserError, match=r"classifier.input_size=.* is not allowed"):
        custom(network(), input_size=[8, 8, 8])
    assert custom(network(), input_size=[8, 9], resize=[10, 11]).preprocessing.resize == (10, 11)


# timm and torchvision


def test_preprocessing_of_timm_models_is_that_of_timm() -> None:
    centre = from_timm("resnet18.a1_in1k", pretrained=False).preprocessing
    assert (centre.size, centre.resize, centre.interpolation) == ((224, 224), 235, "bicubic")
    vit = from_timm("vit_tiny_patch16_224.augreg_in21k_ft_in1k", pretrained=False)
    assert (vit.preprocessing.resize, vit.preprocessing.mean) == (248, (0.5, 0.5, 0.5))
    squash = from_timm("vit_pwee_patch16_reg1_gap_256.sbb_in1k", pretrained=False).preprocessing
    assert (squash.size, squash.resize) == ((256, 256), 269)


def test_untrained_weights_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = (from_torchvision("squeezenet1_1").model for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("source", [from_timm, from_torchvision])
@pytest.mark.parametrize("classes", [1000, 10])
@pytest.mark.slow
def test_the_head_follows_the_checkpoint(tmp_path: Path, source: Any, classes: int) -> None:
    import timm
    import torchvision

    make = timm.create_model if source is from_timm else torchvision.models.get_model
    trained = make("resnet18", num_classes=classes).eval()
    save_file({f"module.{k}": v for k, v in trained.state_dict().items()}, tmp_path / "a.safetensors")
    classifier = source("resnet18", checkpoint=tmp_path / "a.safetensors", pretrained=True)
    inputs = torch.rand(1, 3, 64, 64)
    normalised = (inputs - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with classifier.frozen("cpu", torch.float32), torch.no_grad():
        assert torch.allclose(classifier(inputs), trained(normalised), atol=1e-4)
    assert classifier.num_classes == classes


def test_a_convolutional_head_follows_the_checkpoint_too(tmp_path: Path) -> None:
    import torchvision

    save_file(torchvision.models.squeezenet1_1(num_classes=6).state_dict(), tmp_path / "a.safetensors")
    classifier = from_torchvision("squeezenet1_1", checkpoint=tmp_path / "a.safetensors")
    with classifier.frozen(), torch.no_grad():
        assert classifier(torch.rand(1, 3, 64, 64)).shape == (1, 6)


@pytest.mark.slow
def test_the_authors_names_of_weights_are_translated_by_timm(tmp_path: Path) -> None:
    import timm

    # Facebook's DeiT stores its state under "model"; timm's ViTs also load a patch embedding with flat weights.
    trained = timm.create_model("vit_tiny_patch16_224", num_classes=7)
    state = dict(trained.state_dict())
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    torch.save({"model": state}, tmp_path / "a.pth")
    model = from_timm("vit_tiny_patch16_224", checkpoint=tmp_path / "a.pth").model
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True))


@pytest.mark.parametrize("source", [from_timm, from_torchvision])
def test_a_foreign_checkpoint_is_refused(tmp_path: Path, source: Any) -> None:
    save_file(network().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"is not one of resnet18: \d+ keys are missing .* unexpected"):
        source("resnet18", checkpoint=tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["vit_b_16", "inception_v3", "googlenet"])
@pytest.mark.slow
def test_torchvision_networks_are_built_as_their_weights_expect(name: str) -> None:
    classifier = from_torchvision(name)
    side = classifier.preprocessing.size[0]
    with classifier.frozen(), torch.no_grad():
        assert classifier(torch.rand(1, 3, side, side)).shape == (1, 1000)
    assert getattr(classifier.model, "transform_input", True)


def test_unknown_names_get_close_matches() -> None:
    with pytest.raises(UserError, match=r"timm has no model 'resnt50'; did you mean .*resnet50"):
        from_timm("resnt50")
    with pytest.raises(UserError, match=r"timm's resnet50 has no weights 'tv'; choose one of .*tv_in1k"):
        from_timm("resnet50.tv")
    with pytest.raises(UserError, match=r"is not allowed: .*hf-hub:"):
        from_timm("owner/name")
    with pytest.raises(UserError, match=r"torchvision has no classification model 'resnet5'; did you mean .*resnet50"):
        from_torchvision("resnet5")
    with pytest.raises(UserError, match=r"has no classification head"):
        from_timm("vit_small_patch14_dinov2.lvd142m")


# The hub

CONFIG = b"""{"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": {"input_size": [3, 160, 160],
"crop_pct": 0.95, "num_classes": 1000, "fixed_input_size": true,
"classifier": "head", "first_conv": "patch_embed.proj"}}"""


def test_an_unreachable_hub_is_reported_within_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "hub_file", lambda *_: None)
    for name in ("test_vit.r160_in1k", "hf-hub:nobody/nothing"):
        with pytest.raises(UserError, match=r"out of reach .*classifier.checkpoint=PATH.*classifier.pretrained=false"):
            from_timm(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids the hub"):
        from_timm("test_vit.r160_in1k")


def test_a_server_that_never_answers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PATIENCE", 0.1)
    monkeypatch.setattr(hub_module, "probe", lambda _: time.sleep(1) or "")
    with pytest.raises(UserError, match=r"no answer within 0.1 seconds"):
        require_reachable("https://example.invalid/weights.pth", "x")


def test_downloaded_weights_need_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import timm

    trained = timm.create_model("test_vit")
    cache = tmp_path / "models--timm--test_vit.r160_in1k"  # the layout of the hub's client
    for folder, files in (
        ("refs", {"main": b"abc"}),
        ("snapshots/abc", {"config.json": CONFIG, "model.safetensors": b""}),
    ):
        (cache / folder).mkdir(parents=True)
        for name, content in files.items():
            (cache / folder / name).write_bytes(content)
    save_file(trained.state_dict(), cache / "snapshots/abc/model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("test_vit.r160_in1k", "hf-hub:timm/test_vit.r160_in1k", f"local-dir:{cache}/snapshots/abc"):
        classifier = from_timm(name)
        pairs = zip(classifier.model.parameters(), trained.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name
        assert classifier.preprocessing.size == (160, 160)


@pytest.mark.skipif("INR_XAI_DATA" not in os.environ, reason="INR_XAI_DATA names no folder with weights and photos")
def test_a_real_classifier_recognises_real_photos() -> None:
    from inr_xai.data import ImageFolder

    folder = Path(os.environ["INR_XAI_DATA"])
    classifier = from_torchvision("squeezenet1_0", checkpoint=folder / "squeezenet1_0-imagenet1k.safetensors")
    data = ImageFolder(folder / "imagenet-samples")
    samples = [data.load(name, classifier.preprocessing) for name in data.ids[::10]]
    targets = torch.tensor([sample.target for sample in samples])
    with classifier.frozen("cpu", torch.float32), torch.no_grad():
        logits = classifier(torch.stack([sample.image for sample in samples]))
    assert int((logits.argmax(1) == targets).sum()) >= 11
