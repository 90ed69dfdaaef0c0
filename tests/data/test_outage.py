"""Data out of reach: they are waited for once, what is a file's own fault is not, and no photo is left out by it."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from inr_xai.data import ImageFolder, Synthetic, outage
from inr_xai.data.mosaic import Grid
from inr_xai.data.photo_pool import PhotoPool
from inr_xai.errors import Unreachable, UserError
from inr_xai.types import Preprocessing
from tests.helpers.runs import messages, photos

PREPROCESSING = Preprocessing((24, 24), 24, "bilinear", (0.5,) * 3, (0.5,) * 3)


class Clock:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()
        self.at = dict[int, object]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        act = self.at.get(len(self.pauses))
        if callable(act):
            act()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    return clock


@pytest.fixture
def data(tmp_path: Path) -> ImageFolder:
    data = ImageFolder(photos(tmp_path / "root", "a.png", "b.png", "c.png"), targets="predicted")
    data.folders.wait = 20.0
    return data


def away(data: ImageFolder, *, mounted: bool = False) -> Path:
    """Moves the folder of the photos away, and returns where it is; `mounted` leaves an empty folder in its place."""
    there = data.root.with_name("away")
    data.root.rename(there)
    if mounted:
        data.root.mkdir()
    return there


@pytest.mark.parametrize("mounted", [False, True], ids=["gone", "empty"])
def test_a_root_that_comes_back_is_waited_for(
    data: ImageFolder, clock: Clock, caplog: pytest.LogCaptureFixture, mounted: bool
) -> None:
    expected, there = data.load("a", PREPROCESSING).image, away(data, mounted=mounted)
    clock.at[3] = lambda: there.replace(data.root)
    assert data.load("a", PREPROCESSING).image.equal(expected)
    assert clock.pauses == [1, 2, 4]
    began, ended = messages(caplog.records)
    assert began == f"the data are out of reach ({str(data.root)!r} is gone or empty); they are tried again for 20 s"
    assert ended == "the data are there again, after 7 s"


def test_a_wait_in_vain_is_not_repeated_until_the_root_is_back(
    data: ImageFolder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    there = away(data)
    with pytest.raises(Unreachable, match=r"'a' was not read: the data are out of reach .* waited for 20 s; when"):
        data.load("a", PREPROCESSING)
    assert clock.pauses == [1, 2, 4, 8, 5]
    for _ in range(3):
        with pytest.raises(Unreachable, match="'b' was not read"):
            data.load("b", PREPROCESSING)
    assert len(clock.pauses) == 5
    there.replace(data.root)
    data.load("c", PREPROCESSING)
    assert len(messages(caplog.records)) == 2
    away(data)
    with pytest.raises(Unreachable):
        data.load("a", PREPROCESSING)
    assert len(clock.pauses) == 10


def test_what_is_the_fault_of_a_file_is_said_at_once(data: ImageFolder, clock: Clock) -> None:
    (data.root / "a.png").unlink()
    (data.root / "b.png").write_bytes(b"no picture")
    for name in ("a", "b", "unknown"):
        with pytest.raises(UserError) as caught:
            data.load(name, PREPROCESSING)
        assert not isinstance(caught.value, Unreachable)
    data.folders.wait = 0.0
    away(data)
    with pytest.raises(Unreachable):
        data.load("c", PREPROCESSING)
    assert clock.pauses == []


@pytest.mark.parametrize("name", ["ESTALE", "EIO", "ETIMEDOUT", "ENOTCONN", "EHOSTDOWN"])
def test_an_error_of_the_store_is_waited_for_while_its_folder_is_there(
    data: ImageFolder, clock: Clock, name: str
) -> None:
    number = getattr(errno, name)
    left = [3]

    def read() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise UserError("cannot read the image") from OSError(number, os.strerror(number))
        return "read"

    assert data.folders.read("a", read) == "read"
    assert clock.pauses == [1, 2, 4]


def test_an_error_that_stays_while_others_are_read_is_waited_for_briefly_from_then_on(
    data: ImageFolder, clock: Clock
) -> None:
    def broken() -> str:
        raise OSError(errno.EIO, "Input/output error")

    for expected in ([1, 2, 4, 8, 5], [1, 2, 4], [1, 2, 4]):
        clock.pauses.clear()
        with pytest.raises(Unreachable, match="Input/output error"):
            data.folders.read("a", broken)
        assert clock.pauses == expected
        assert data.folders.read("b", lambda: "read") == "read"
    clock.pauses.clear()
    away(data)
    with pytest.raises(Unreachable):
        data.folders.read("a", broken)
    assert sum(clock.pauses) == 20


def test_a_signal_ends_the_wait(data: ImageFolder, clock: Clock) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    away(data)
    clock.at[2] = interrupt
    with pytest.raises(KeyboardInterrupt):
        data.load("a", PREPROCESSING)
    assert clock.pauses == [1, 2]


def test_no_photo_of_a_pool_is_left_out_by_an_outage(data: ImageFolder, clock: Clock) -> None:
    def pool() -> PhotoPool:
        return PhotoPool(["a", "b", "c"], data, PREPROCESSING, data.scoring_ids[-4:])

    expected, late = pool().following("d"), pool()
    there = away(data)
    with pytest.raises(Unreachable):
        late.following("d")
    with pytest.raises(Unreachable):
        late.all()
    there.replace(data.root)
    assert late.following("d").equal(expected)
    assert late.all().equal(pool().all())


def test_mosaics_have_the_folders_of_their_photos(tmp_path: Path) -> None:
    source = ImageFolder(photos(tmp_path, *(f"{name}.png" for name in "abcd")), targets="predicted")
    assert Grid(source, {name: index for index, name in enumerate("abcd")}, count=1).folders is source.folders
    drawn = Synthetic(size=24)
    assert Grid(drawn, {name: index % 8 for index, name in enumerate(drawn.ids[:16])}, count=1).folders is None
