"""Images explained while a classifier is trained: the training is the same to the bit; loggers get pictures, scores."""

import csv
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from inr_xai import ExplainImages
from inr_xai.errors import UserError
from tests.helpers.runs import messages

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # of Lightning, which asks PyTorch in an old way
]
SHORT: dict[str, Any] = {"areas": (0.2,), "steps": 2, "preset": None}


class Network(lightning.LightningModule):
    """A small network with what could be disturbed: dropout, and statistics of batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(3)
        )
        self.layers(torch.zeros(2, 3, 16, 16))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def trained(root: Path, *callbacks: lightning.Callback, logger: Any = False, epochs: int = 3) -> Network:
    """A network that was trained for some epochs from a fixed seed."""
    lightning.seed_everything(7, verbose=False)
    network, draw = Network(), torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(24, 3, 16, 16, generator=draw), torch.randint(0, 3, (24,), generator=draw))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=logger,
        callbacks=list(callbacks),
        default_root_dir=root,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(network, DataLoader(data, batch_size=8, shuffle=True))
    return network


@pytest.fixture(autouse=True)
def quiet() -> None:
    """What Lightning says of loaders and hardware is not our concern."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.ERROR)


@pytest.mark.slow
def test_the_training_is_the_same_to_the_bit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    callback = ExplainImages(images, every=2, input_mean=0.0, input_std=1.0, names=["cat", "dog"], **SHORT)
    logger = CSVLogger(tmp_path, name="with")
    without, with_it = trained(tmp_path), trained(tmp_path, callback, logger=logger)
    for (name, one), other in zip(without.state_dict().items(), with_it.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert with_it.training == without.training
    assert callback.passes == 2 * (2 * 1 + 1)
    assert "2 images are explained every 2 epochs, by 6 classifier passes" in messages(caplog.records)
    folder = Path(logger.log_dir) / "explanations"
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png")) == [
        "epoch_1/cat.png",
        "epoch_1/dog.png",
    ]
    logger.save()
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("explanations/kept")]
    assert len(rows) == 1
    assert 0 < float(rows[0]["explanations/kept"]) < 1
    assert float(rows[0]["explanations/carries"]) in (0.0, 0.5, 1.0)


class Recording(Logger):
    """A logger that keeps what it gets: as W&B's if it takes images itself, else with a writer as TensorBoard's."""

    def __init__(self, *, of_wandb: bool):
        super().__init__()
        self.pictures: list[tuple[str, Any]] = []
        self.metrics: dict[str, float] = {}
        if of_wandb:
            self.log_image = self._log_image
        self._writer = SimpleNamespace(add_image=self._add_image)

    name, version = "recording", 0
    log_dir = None

    @property
    def experiment(self) -> Any:
        """What TensorBoard's logger offers as its writer."""
        return self._writer

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Keeps nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keeps the last metrics."""
        self.metrics |= metrics

    def _log_image(self, key: str, images: list[Any], step: int, caption: list[str]) -> None:
        self.pictures += [(key, np.asarray(image).shape) for image in images]
        assert [words.startswith("Explanation('image") for words in caption] == [True] * len(images)

    def _add_image(self, tag: str, array: np.ndarray, step: int, dataformats: str) -> None:
        assert (array.dtype, array.shape[2], dataformats) == (np.uint8, 3, "HWC")
        self.pictures.append((tag, array.shape))


@pytest.mark.slow
def test_loggers_of_both_kinds_get_pictures_and_scores(tmp_path: Path) -> None:
    loggers = [Recording(of_wandb=True), Recording(of_wandb=False)]
    images = torch.rand(2, 3, 16, 16)
    trained(tmp_path, ExplainImages(images, target=1, **SHORT), logger=loggers, epochs=1)
    assert [tag for tag, _ in loggers[0].pictures] == ["explanations"] * 2
    assert [tag for tag, _ in loggers[1].pictures] == ["explanations/image0", "explanations/image1"]
    for logger in loggers:
        assert {"explanations/kept", "explanations/chance", "explanations/whole"} <= logger.metrics.keys()


def test_what_fails_costs_the_training_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = ExplainImages(torch.rand(1, 3, 16, 16), forward=lambda model, inputs: model(inputs)[:, :1], **SHORT)
    without, with_it = trained(tmp_path, epochs=1), trained(tmp_path, callback, epochs=1)
    assert torch.equal(without.layers[0].weight, with_it.layers[0].weight)
    (said,) = messages(caplog.records)
    assert said.startswith("the images are not explained after epoch 0: ")
    assert "one output for each image" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": torch.rand(3, 8, 8)}, "images must be a tensor of 1 to 64"),
        ({"images": torch.rand(65, 3, 8, 8)}, "images must be a tensor of 1 to 64"),
        ({"every": 0}, "every must be a whole number"),
        ({"step": 3}, "did you mean steps"),
        ({"preset": "fst"}, "did you mean fast"),
        ({"areas": (2.0,)}, "areas"),
    ],
)
def test_wrong_options_are_refused_at_once(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ExplainImages(**({"images": torch.rand(1, 3, 8, 8)} | changes))
