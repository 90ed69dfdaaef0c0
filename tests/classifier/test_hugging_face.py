"""Classifiers of transformers, made small: their transform against their processors, their maps, folders and runs."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from inr_xai import INRAttribution
from inr_xai import load as load_run
from inr_xai.classifier import FrozenClassifier, from_hugging_face
from inr_xai.classifier import hub as hub_module
from inr_xai.classifier.feature_maps import as_feature_map
from inr_xai.classifier.hugging_face import class_names, logits_only, preprocessing_of
from inr_xai.classifier.start import NoStart
from inr_xai.data.transform import to_input
from inr_xai.errors import UserError
from inr_xai.types import Preprocessing
from tests.classifier.test_feature_maps import maps_of
from tests.conftest import pictures
from tests.helpers.program import status

SIDE = 32
NAMES = ["cat", "dog", "emu", "fox", "gnu", "hen", "ibex", "jay"]
KINDS = ["vit", "swin", "convnext", "resnet"]


@pytest.fixture(scope="module")
def hf() -> Any:
    return pytest.importorskip("transformers", reason="transformers (of the extra hf) is not installed")


def config_of(hf: Any, kind: str) -> Any:
    """The configuration of a tiny network of each kind, with eight named classes."""
    names = dict(enumerate(NAMES))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    swin = {"image_size": SIDE, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
    stages = {"hidden_sizes": [8, 16], "depths": [1, 1]}
    configs = {
        "vit": lambda: hf.ViTConfig(image_size=SIDE, patch_size=8, **tiny, **labels),
        "swin": lambda: hf.SwinConfig(window_size=4, **swin, **labels),
        "convnext": lambda: hf.ConvNextConfig(num_stages=2, **stages, **labels),
        "resnet": lambda: hf.ResNetConfig(embedding_size=8, layer_type="basic", **stages, **labels),
    }
    return configs[kind]()


def processor_of(hf: Any, kind: str) -> Any:
    """The image processor that networks of each kind come with."""
    square = {"height": SIDE, "width": SIDE}
    processors = {
        "vit": lambda: hf.ViTImageProcessor(size=square),
        "swin": lambda: hf.ViTImageProcessor(size=square, image_mean=[0.485, 0.456, 0.406], image_std=[0.229] * 3),
        "convnext": lambda: hf.ConvNextImageProcessor(size={"shortest_edge": SIDE}),
        "resnet": lambda: hf.BitImageProcessor(size={"shortest_edge": 37}, crop_size=square),
    }
    return processors[kind]()


@pytest.fixture(scope="module")
def models(hf: Any) -> dict[str, nn.Module]:
    """A tiny network of each kind whose logits differ enough between images."""
    made = {}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for kind in KINDS:
            made[kind] = hf.AutoModelForImageClassification.from_config(config_of(hf, kind)).eval()
            for part in made[kind].modules():
                if isinstance(part, nn.Linear):
                    nn.init.normal_(part.weight, std=0.4)
    return made


@pytest.fixture(scope="module")
def folders(hf: Any, models: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each kind, into which the model and its processor were saved."""
    root = tmp_path_factory.mktemp("hub")
    for kind, model in models.items():
        model.save_pretrained(root / kind)
        processor_of(hf, kind).save_pretrained(root / kind)
    return root


def photo(height: int, width: int) -> Image.Image:
    """A smooth colour photo, as photos are at the scale of pixels."""
    small = torch.rand(1, 3, height // 12, width // 12, generator=torch.Generator().manual_seed(height))
    values = F.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)[0]
    return Image.fromarray((255 * values).byte().movedim(0, -1).numpy())


def of_processor(processor: Any, image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """What a processor makes of a photo, with the normalisation undone."""
    values = torch.as_tensor(np.asarray(processor(images=image, return_tensors="pt")["pixel_values"])[0]).float()
    mean, std = (torch.tensor(part)[:, None, None] for part in (preprocessing.mean, preprocessing.std))
    return values * std + mean


HALF = (0.5, 0.5, 0.5)
PROCESSORS = [
    ("ViTImageProcessor", {"size": {"height": 48, "width": 40}}, (48, 40), (48, 40), "bilinear"),
    ("ViTImageProcessorPil", {"size": {"height": 48, "width": 40}, "resample": 3}, (48, 40), (48, 40), "bicubic"),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 56}, "crop_pct": 0.875}, (56, 56), 64, "bicubic"),
    ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 50}, "crop_pct": 0.9}, (50, 50), 55, "bicubic"),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}, (384, 384), (384, 384), "bicubic"),
    (
        "BitImageProcessor",
        {"size": {"shortest_edge": 55}, "crop_size": {"height": 40, "width": 48}},
        (40, 48),
        55,
        "bicubic",
    ),
    ("BitImageProcessorPil", {"size": {"shortest_edge": 55}, "crop_size": 40}, (40, 40), 55, "bicubic"),
    ("DeiTImageProcessor", {"size": {"height": 60, "width": 60}, "crop_size": 48}, (48, 48), (60, 60), "bicubic"),
    ("PoolFormerImageProcessor", {"size": {"shortest_edge": 48}, "crop_size": 48}, (48, 48), 53, "bicubic"),
    ("ViTImageProcessor", {"size": 32, "resample": 0, "do_normalize": False}, (32, 32), (32, 32), "nearest"),
]


@pytest.mark.parametrize(("kind", "settings", "size", "resize", "interpolation"), PROCESSORS)
def test_the_transform_is_the_processors(
    hf: Any, kind: str, settings: dict[str, Any], size: tuple[int, int], resize: Any, interpolation: str
) -> None:
    if not hasattr(hf, kind):
        pytest.skip(f"this version of transformers has no {kind}")
    processor = getattr(hf, kind)(**settings)
    preprocessing = preprocessing_of(processor)
    assert (preprocessing.size, preprocessing.resize, preprocessing.interpolation) == (size, resize, interpolation)
    for height, width in ((90, 131), (117, 76)):  # margins that are odd and even
        image = photo(height, width)
        ours = to_input(image, preprocessing)[0]
        theirs = of_processor(processor, image, preprocessing)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-2)


def test_statistics_are_those_of_images_in_the_unit_interval(hf: Any) -> None:
    size = {"height": 32, "width": 32}
    assert preprocessing_of(hf.ViTImageProcessor(size=size)).mean == HALF
    in_bytes = hf.ViTImageProcessor(size=size, do_rescale=False, image_mean=[51.0] * 3, image_std=[102.0] * 3)
    record = preprocessing_of(in_bytes)
    assert (record.mean, record.std) == (pytest.approx((0.2,) * 3), pytest.approx((0.4,) * 3))
    plain = preprocessing_of(hf.ViTImageProcessor(size=size, do_normalize=False))
    assert (plain.mean, plain.std) == ((0.0,) * 3, (1.0,) * 3)
    single = preprocessing_of(hf.ViTImageProcessor(size=size, rescale_factor=1 / 127.5, image_mean=1.0, image_std=1.0))
    assert (single.mean, single.std) == (pytest.approx(HALF), pytest.approx(HALF))


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        ("ViTImageProcessor", {"do_resize": False}, "does not resize photos to one size"),
        ("ViTImageProcessor", {"size": {"shortest_edge": 32}}, "makes inputs of no fixed size of its size="),
        ("ViTImageProcessor", {"size": {"shortest_edge": 32, "longest_edge": 64}}, "no fixed size"),
        ("LevitImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": 56}, "in other ways than by a resize"),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": 56}, "in other ways than by a resize"),
        ("EfficientNetImageProcessor", {"size": {"height": 56, "width": 56}}, "in other ways than by a resize"),
    ],
)
def test_what_is_no_resize_crop_and_normalisation_is_refused(
    hf: Any, kind: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        preprocessing_of(getattr(hf, kind)(**settings))
    assert str(caught.value).startswith(kind)
    assert "\n" not in str(caught.value)


def test_something_else_is_no_processor() -> None:
    with pytest.raises(UserError, match="object does not resize photos to one size"):
        preprocessing_of(object())


def test_class_names_are_those_of_the_configuration(hf: Any, models: dict[str, nn.Module]) -> None:
    assert class_names(models["vit"]) == NAMES
    assert (
        class_names(hf.ViTForImageClassification(hf.ViTConfig(num_hidden_layers=1, hidden_size=12, num_labels=3)))
        is None
    )
    assert class_names(nn.Linear(1, 1)) is None


# The models in the Python API


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_model_is_explained_as_it_is(models: dict[str, nn.Module], kind: str) -> None:
    model, images = models[kind], pictures(2, SIDE)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    call = {"target": [1, 4], "areas": (0.2,)}
    masks = INRAttribution(model, steps=3).attribute(images, **call)
    assert torch.equal(INRAttribution(logits_only(model), steps=3).attribute(images, **call), masks)
    assert not torch.equal(INRAttribution(model, steps=3, start=NoStart()).attribute(images, **call), masks)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()


@pytest.mark.parametrize(
    ("kind", "deepest", "grid"),
    [
        ("vit", "vit.layers.1.layernorm_before", 4),
        ("swin", "swin.layernorm", 4),
        ("convnext", "convnext.encoder.stages.1", 4),
        ("resnet", "resnet.encoder.stages.1", 4),
    ],
)
@pytest.mark.parametrize("wrap", [False, True])
def test_the_start_is_the_layercam_of_the_deepest_features(
    models: dict[str, nn.Module], kind: str, deepest: str, grid: int, wrap: bool
) -> None:
    model, images, targets = models[kind], pictures(2, SIDE), torch.tensor([1, 4])
    captured: list[Tensor] = []
    handle = model.get_submodule(deepest).register_forward_hook(lambda *arguments: captured.append(arguments[2]))
    logits = model(images.clone().requires_grad_()).logits
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), captured[0])
    features, gradients = (as_feature_map(part.detach(), images) for part in (captured[0], gradient))
    assert features is not None
    assert gradients is not None
    assert features.shape[-2:] == (grid, grid)
    cam = (features * gradients).clamp(min=0).sum(1, keepdim=True)
    expected = F.interpolate(cam, size=(SIDE, SIDE), mode="bilinear")[:, 0]
    found = maps_of(logits_only(model) if wrap else model, images, targets.tolist())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found.std((1, 2)) > 0.02 * found.amax((1, 2))).all()


def test_logits_alone_are_what_other_tools_expect(models: dict[str, nn.Module]) -> None:
    captum = pytest.importorskip("captum.attr")
    images, model = pictures(2, SIDE), models["resnet"]
    wrapped = logits_only(model)
    assert torch.equal(wrapped(images), model(images).logits)
    layer = model.resnet.encoder.stages[1]
    cam = captum.LayerGradCam(wrapped, layer).attribute(images, target=3)
    assert cam.shape == (2, 1, 4, 4)
    weight = model.classifier[1].weight[3] / 16  # behind a global mean of 4 x 4 places
    features: list[Tensor] = []
    handle = layer.register_forward_hook(lambda *arguments: features.append(arguments[2]))
    model(images)
    handle.remove()
    by_hand = (features[0] * weight[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(cam, by_hand, rtol=1e-4, atol=1e-6)


# Folders and the hub


def logits_of(classifier: FrozenClassifier, images: Tensor) -> Tensor:
    with classifier.frozen("cpu", torch.float32), torch.no_grad():
        return classifier(images)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_model_its_transform_and_its_names(
    hf: Any, models: dict[str, nn.Module], folders: Path, kind: str
) -> None:
    classifier = from_hugging_face(str(folders / kind))
    assert classifier.class_names == NAMES
    assert classifier.preprocessing == preprocessing_of(processor_of(hf, kind))
    image = photo(90, 131)
    inputs = to_input(image, classifier.preprocessing)[0][None]
    with torch.no_grad():
        pixels = processor_of(hf, kind)(images=image, return_tensors="pt")["pixel_values"]
        expected = models[kind](pixels).logits
    torch.testing.assert_close(logits_of(classifier, inputs), expected, rtol=0.05, atol=0.05)  # values differ by 1e-2
    mean, std = (
        torch.tensor(part)[:, None, None] for part in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    with torch.no_grad():
        exact = models[kind]((inputs - mean) / std).logits
    torch.testing.assert_close(logits_of(classifier, inputs), exact, rtol=0, atol=1e-5)


def test_weights_of_a_file_and_random_ones(
    models: dict[str, nn.Module], folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = {name: value + 0.5 for name, value in models["vit"].state_dict().items()}
    torch.save({"state_dict": {f"model.{name}": value for name, value in other.items()}}, tmp_path / "a.pth")
    loaded = from_hugging_face(str(folders / "vit"), checkpoint=tmp_path / "a.pth").model
    assert isinstance(loaded, nn.Module)
    assert all(torch.equal(value, other[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(UserError, match=r"is not one of SwinForImageClassification: \d+ keys are missing"):
        from_hugging_face(str(folders / "swin"), checkpoint=tmp_path / "a.pth")
    first, second = (from_hugging_face(str(folders / "vit"), pretrained=False).model for _ in range(2))
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), models["vit"].parameters(), strict=True))
    assert "has random weights" in caplog.text


def test_incomplete_folders_are_refused(hf: Any, models: dict[str, nn.Module], folders: Path, tmp_path: Path) -> None:
    source = folders / "vit"
    backbone, unsafe, bare, other = (tmp_path / name for name in ("backbone", "unsafe", "bare", "other"))
    for folder in (unsafe, bare, other):
        shutil.copytree(source, folder)
    models["vit"].vit.save_pretrained(backbone)
    shutil.copy(source / "preprocessor_config.json", backbone)
    with pytest.raises(
        UserError, match=r"lacks weights of 2 tensors of the classifier \(first: classifier.bias\), which"
    ):
        from_hugging_face(str(backbone))
    torch.save(models["vit"].state_dict(), unsafe / "pytorch_model.bin")
    (unsafe / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no image classifier with weights in safetensors that can be loaded"):
        from_hugging_face(str(unsafe))
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"holds no image processor .* processor.save_pretrained have written"):
        from_hugging_face(str(bare))
    hf.BertConfig(num_hidden_layers=1).save_pretrained(other)
    with pytest.raises(UserError, match="transformers has no image classifier of the type 'bert'"):
        from_hugging_face(str(other), pretrained=False)
    with pytest.raises(
        UserError, match=r"is no folder, and no name of Hugging Face's hub; give classifier.name=FOLDER"
    ):
        from_hugging_face(str(tmp_path / "nowhere"))


def test_a_model_of_several_classes_an_image_needs_a_sigmoid(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "resnet", tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    with pytest.raises(UserError, match="gives an image several classes by its config; set classifier"):
        from_hugging_face(str(tmp_path / "a"))
    assert from_hugging_face(str(tmp_path / "a"), head="sigmoid").head == "sigmoid"


def test_a_download_is_found_and_an_unreachable_hub_is_one_sentence(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "models--owner--bird"  # the layout of the hub's client
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    shutil.copytree(folders / "vit", cache / "snapshots" / "abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    images = pictures(2, SIDE)
    expected = logits_of(from_hugging_face(str(folders / "vit")), images)
    assert torch.equal(logits_of(from_hugging_face("owner/bird"), images), expected)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids the hub; give classifier.name=FOLDER"):
        from_hugging_face("owner/fish")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_module, "PATIENCE", 2.0)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=r"out of reach .*; give classifier.name=FOLDER"):
        from_hugging_face("owner/fish@main")


def test_without_the_package_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs the package transformers; pip install 'inr-xai\[hf\]'"):
        from_hugging_face("owner/bird")


# The command line

RUN = ["data.size=2", "steps=2", "explanations=1", "areas=[0.2]", "logger=none", "trainer.accelerator=cpu"]


@pytest.mark.slow
@pytest.mark.usefixtures("hf", "command_line")
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_run_of_a_folder(folders: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["classifier=hugging_face", f"classifier.name={folders / kind}"]
    assert status(*named, *RUN, f"out={tmp_path / 'run'}") == 0
    run = load_run(tmp_path / "run")
    assert len(run) == 2
    for sample_id in run:
        mask = run[sample_id].mask(area=0.2)
        assert mask.shape == (SIDE, SIDE)
        assert float(mask.mean()) == pytest.approx(0.2, abs=2e-3)
    assert status("classifier=hugging_face", "classifier.name=./nowhere", *RUN, f"out={tmp_path / 'other'}") == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("hf", "command_line")
@pytest.mark.parametrize("way", ["AutoModelForImageClassification.from_pretrained", "ViTForImageClassification"])
def test_a_run_of_transformers_own_classes(folders: Path, tmp_path: Path, way: str) -> None:
    settings = "image_size: 32, patch_size: 8, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2"
    given = {
        "AutoModelForImageClassification.from_pretrained": f"pretrained_model_name_or_path={folders / 'vit'}",
        "ViTForImageClassification": f"config={{_target_: transformers.ViTConfig, num_labels: 8, {settings}}}",
    }
    own = [
        "classifier=custom",
        "allow_targets=[transformers]",
        f"classifier.model._target_=transformers.{way}",
        f"classifier.model.{given[way]}",
        "classifier.input_size=32",
        "classifier.resize=[32,32]",
    ]
    assert status(*own, *RUN, f"out={tmp_path / 'run'}") == 0
    assert len(load_run(tmp_path / "run")) == 2
