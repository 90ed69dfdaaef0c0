"""Pools of photos: which photos follow a sample, which are left out, and what is refused."""

import struct

import pytest
import torch

from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import RunFault, UserError
from inr_xai.types import Frame, Preprocessing, Sample
from tests.helpers.runs import messages

PREPROCESSING = Preprocessing((2, 2), 2, "bilinear", (0.5,), (0.5,))
FRAME = Frame(original=(2, 2), resized=(2, 2), top=0, left=0, size=(2, 2))


class Numbered:
    """Every pixel of photo "7" is 7; records which photos are read."""

    targets: str | int = "label"
    every = 1
    limit: int | None = None
    class_names: list[str] | None = None

    def __init__(self, broken: str = "") -> None:
        self.ids = self.scoring_ids = self.donor_ids = list("0123456789")
        self.broken = broken
        self.read: list[str] = []

    def load(self, sample_id: str, preprocessing: Preprocessing) -> Sample:
        assert preprocessing is PREPROCESSING
        self.read.append(sample_id)
        if sample_id in self.broken:
            raise UserError(f"photo {sample_id} cannot be read")
        return Sample(torch.full((1, 2, 2), float(sample_id)), None, sample_id, FRAME)


def pool(ids: str, broken: str = "") -> PhotoPool:
    return PhotoPool(list(ids), Numbered(broken), PREPROCESSING)


def numbers(photos: torch.Tensor) -> list[int]:
    assert photos.shape[1:] == (1, 2, 2)
    assert torch.equal(photos, photos[:, :, :1, :1].expand_as(photos))
    return photos[:, 0, 0, 0].int().tolist()


@pytest.mark.parametrize(
    ("ids", "sample_id", "expected"),
    [
        ("13579", "0", [1, 3, 5]),  # not in the pool
        ("13579", "1", [3, 5, 7]),
        ("13579", "4", [5, 7, 9]),
        ("13579", "6", [7, 9, 1]),
        ("13579", "9", [1, 3, 5]),
        ("95173", "5", [7, 9, 1]),  # the order given does not matter
        ("1357", "3", [5, 7, 1]),  # exactly three other photos
        ("135", "2", [3, 5, 1]),
    ],
)
def test_the_next_three_other_photos_follow_in_a_circle(ids: str, sample_id: str, expected: list[int]) -> None:
    assert numbers(pool(ids).following(sample_id)) == expected


def test_broken_photos_are_left_out_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    photos = pool("13579", broken="37")
    assert numbers(photos.following("2")) == [5, 9, 1]
    assert numbers(photos.following("0")) == [1, 5, 9]
    assert numbers(photos.all()) == [1, 5, 9]
    assert messages(caplog.records) == [f"left out of the pool of baselines: photo {n} cannot be read" for n in (3, 7)]


@pytest.mark.parametrize("error", [MemoryError(), OSError("gone"), struct.error("bad"), RuntimeError("shape")])
def test_any_error_of_a_photo_costs_that_photo_alone(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    data = Numbered()
    load = data.load

    def failing(sample_id: str, preprocessing: Preprocessing) -> Sample:
        if sample_id == "5":
            raise error
        return load(sample_id, preprocessing)

    data.load = failing  # type: ignore[method-assign]
    assert numbers(PhotoPool(list("13579"), data, PREPROCESSING).following("2")) == [3, 7, 9]
    reason = str(error) or "MemoryError"
    assert messages(caplog.records) == [f"left out of the pool of baselines: '5' fails ({reason})"]


def test_a_fault_of_the_machine_ends_the_run() -> None:
    data = Numbered()
    data.load = lambda *_: (_ for _ in ()).throw(RunFault("the disk is gone"))  # type: ignore[method-assign]
    with pytest.raises(RunFault, match="the disk is gone"):
        PhotoPool(list("135"), data, PREPROCESSING).all()


class Shared(Numbered):
    """Samples "70", "71", ... are of photo "7", as in data sets with several classes of a photo."""

    def photo_of(self, sample_id: str) -> str:
        return sample_id[0]


def test_samples_of_one_photo_are_known_to_the_data_set_alone() -> None:
    ids = ["30", "31", "32", "50", "70", "90"]
    assert numbers(PhotoPool(ids, Shared(), PREPROCESSING).following("31")) == [50, 70, 90]
    assert numbers(PhotoPool(ids, Numbered(), PREPROCESSING).following("31")) == [32, 50, 70]


def test_a_photo_is_read_once_and_only_if_it_is_needed() -> None:
    data = Numbered()
    photos = PhotoPool(list("13579"), data, PREPROCESSING)
    assert data.read == []
    for sample_id in ("0", "1", "0"):
        photos.following(sample_id)
    assert data.read == ["1", "3", "5", "7"]


def test_all_photos_are_stacked_once() -> None:
    photos = pool("13579")
    assert photos.all() is photos.all()


@pytest.mark.parametrize(
    ("ids", "broken", "sample_id", "left"), [("135", "", "3", 2), ("13579", "157", "3", 1), ("12", "12", "9", 0)]
)
def test_too_few_photos_are_refused(ids: str, broken: str, sample_id: str, left: int) -> None:
    with pytest.raises(UserError, match=f"has {left} readable photos beside '{sample_id}' and needs 3; add images"):
        pool(ids, broken).following(sample_id)


def test_a_pool_without_any_readable_photo_is_refused() -> None:
    with pytest.raises(UserError, match="none of the 2 photos of the pool of baselines can be read; add images"):
        pool("12", broken="12").all()


def test_the_reserve_is_used_only_if_photos_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    data = Numbered(broken="12")
    few = PhotoPool(list("1234"), data, PREPROCESSING, reserve=list("789"))
    assert numbers(few.following("0")) == [3, 4, 7]
    assert "8" not in data.read
    few.following("0")
    said = [line for line in messages(caplog.records) if "drawn scenes" in line]
    assert len(said) == 1  # once
    assert "has 2 readable photos beside '0', so 1 drawn scenes stand in for photos, which changes scores" in said[0]
    assert numbers(few.all()) == [3, 4, 7, 8, 9]
    caplog.clear()
    enough = PhotoPool(list("13456"), Numbered(), PREPROCESSING, reserve=list("789"))
    assert numbers(enough.following("6")) == [1, 3, 4]
    assert numbers(enough.all()) == [1, 3, 4, 5, 6]
    assert caplog.records == []
    donors = PhotoPool(list("12"), Numbered(), PREPROCESSING, reserve=list("78"))
    assert numbers(donors.all()) == [1, 2, 7, 8]
    assert "has 2 readable photos, so 2 drawn scenes stand in" in messages(caplog.records)[0]
