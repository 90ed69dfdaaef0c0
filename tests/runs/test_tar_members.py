"""Tars that only grow: each cut, flipped or added byte costs what it hits alone, and other programs read them."""

import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from inr_xai.errors import RunFault
from inr_xai.runs.tar_members import BLOCK, TarWriter, fits, read_members

CONTENT = {"a.safetensors": b"A" * 700, "dogs/b.safetensors": b"B" * 512, "é.safetensors": b"", "d.safetensors": b"D"}


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """A tar of four members."""
    writer = TarWriter(tmp_path, 10**9)
    places = [writer.append(name, data) for name, data in CONTENT.items()]
    return places[0].file


def contents(file: Path) -> dict[str, bytes]:
    """Returns the members that are found, and what they hold."""
    return {place.member: place.read() for place in read_members(file).members}


def by_tarfile(file: Path) -> dict[str, bytes]:
    """Returns what Python's own reader finds in a stream, as loaders of WebDatasets read it."""
    with tarfile.open(fileobj=io.BytesIO(file.read_bytes()), mode="r|*") as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def test_members_are_found_where_they_were_put_and_other_programs_read_them(tar: Path) -> None:
    assert contents(tar) == by_tarfile(tar) == CONTENT
    assert read_members(tar).faults == []
    assert tar.stat().st_size % BLOCK == 0
    listed = subprocess.run(
        ["tar", "tf", str(tar)], capture_output=True, check=True, env=os.environ | {"LC_ALL": "C.UTF-8"}
    )
    assert listed.stderr == b""
    assert len(listed.stdout.splitlines()) == len(CONTENT)


def test_what_is_new_is_read_from_where_the_last_reading_ended(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path, 10**9)
    first = writer.append("a.safetensors", b"a" * 1000)
    before = read_members(first.file)
    assert read_members(first.file, before).members is before.members
    second = writer.append("b.safetensors", b"b")
    grown = read_members(first.file, before)
    assert grown.members == read_members(first.file).members == [first, second]
    assert grown.members[0] is before.members[0]
    subprocess.run(["tar", "--delete", "-f", str(first.file), "b.safetensors"], check=True)
    assert first.file.stat().st_size > grown.end  # tar fills its last record
    assert read_members(first.file, grown).members == [first]


@pytest.mark.slow
def test_a_tar_cut_at_any_byte_loses_what_was_cut_alone(tar: Path, tmp_path: Path) -> None:
    content, members = tar.read_bytes(), read_members(tar).members
    for length in range(0, len(content), 7):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(content[:length])
        whole = [place.member for place in members if place.start + (place.size or 0) <= length]
        assert contents(cut) == {name: CONTENT[name] for name in whole}


def killed_at(content: bytes, start: int, name: str, data: bytes, written: int) -> bytes:
    """Returns a tar in which a writer was killed after so many bytes of a member, whose content comes first."""
    writer = io.BytesIO()
    with tarfile.open(fileobj=writer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    whole = writer.getvalue()[: BLOCK + len(data) + -len(data) % BLOCK + 2 * BLOCK]
    return content[: start + BLOCK] + whole[BLOCK : BLOCK + written]


def test_a_writer_killed_at_any_byte_leaves_a_whole_archive(tar: Path, tmp_path: Path) -> None:
    content, end = tar.read_bytes(), read_members(tar).end
    assert content[end:] == bytes(2 * BLOCK)
    for written in (*range(0, 1200, 61), 1024, 2048):
        killed = tmp_path / "killed.tar"
        killed.write_bytes(killed_at(content, end, "late.safetensors", b"\1" * 1000, written))
        assert contents(killed) == by_tarfile(killed) == CONTENT
        assert read_members(killed).faults == []
        assert subprocess.run(["tar", "tf", str(killed)], capture_output=True, check=False).returncode == 0


def test_the_header_is_the_last_thing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each single write the archive has the members of before, or all."""
    found: list[set[str]] = []
    write = os.pwrite

    def noting(handle: int, data: bytes, at: int) -> int:
        written = write(handle, data[:333], at) if len(data) > BLOCK else write(handle, data, at)
        found.append(set(contents(tmp_path / os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))))
        return written

    writer = TarWriter(tmp_path, 10**9)
    writer.append("a.safetensors", b"a")
    monkeypatch.setattr(os, "pwrite", noting)
    writer.append("b.safetensors", b"b" * 3000)
    assert len(found) > 10
    assert found[:-1] == [{"a.safetensors"}] * (len(found) - 1)
    assert found[-1] == {"a.safetensors", "b.safetensors"}


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_moment_leaves_what_it_had_committed(tmp_path: Path) -> None:
    data, draw = os.urandom(200_000), random.Random(0)
    for kill in range(10):
        folder, (told, tells) = tmp_path / str(kill), os.pipe()
        if (child := os.fork()) == 0:
            try:
                writer = TarWriter(folder, 2 * 10**6)
                for number in range(10**6):
                    writer.append(f"{number}.safetensors", data)
                    os.write(tells, b".")
            finally:
                os._exit(1)
        os.read(told, 1)
        time.sleep(draw.random() / 20)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(tells)
        with os.fdopen(told, "rb") as stream:
            committed = 1 + len(stream.read())
        tars = sorted(folder.glob("*.tar"))
        found = [place for tar in tars for place in read_members(tar).members]
        assert [place.member for place in found] == [f"{number}.safetensors" for number in range(len(found))]
        assert len(found) in (committed, committed + 1)
        assert all(place.read() == data for place in found)
        assert sum(len(by_tarfile(tar)) for tar in tars) == len(found)
        assert not any(read_members(tar).faults for tar in tars)


@pytest.mark.parametrize("tail", [b"\1", b"\1" * 511, b"garbage" * 1000, bytes(10_000), b"\0" * 700 + b"\1" * 700])
def test_what_is_added_behind_a_tar_costs_nothing(tar: Path, tail: bytes) -> None:
    with tar.open("ab") as stream:
        stream.write(tail)
    assert contents(tar) == CONTENT
    assert read_members(tar).faults == []


def test_garbage_in_the_place_of_the_end_is_told(tar: Path) -> None:
    end = read_members(tar).end
    tar.write_bytes(tar.read_bytes()[:end] + b"garbage" * 300)
    content = read_members(tar)
    assert [place.member for place in content.members] == list(CONTENT)
    assert content.faults == [
        f"has 2100 bytes from {end} on that are no member; the same command makes again what was there"
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("damage", ["flipped", "zero"])
def test_a_damaged_header_costs_its_own_member_alone(tar: Path, number: int, damage: str) -> None:
    place = read_members(tar).members[number]
    at = place.start - BLOCK
    content = bytearray(tar.read_bytes())
    content[at : at + BLOCK] = (
        bytes(BLOCK) if damage == "zero" else bytes([content[at] ^ 1]) + content[at + 1 : at + BLOCK]
    )
    tar.write_bytes(content)
    found = read_members(tar)
    assert [one.member for one in found.members] == [name for name in CONTENT if name != place.member]
    if damage == "flipped" or number < 3:  # a lone block of zeros with nothing behind it is where a writer was killed
        assert len(found.faults) == 1
        assert f"from {at} on that are no member" in found.faults[0]


def test_a_full_tar_and_one_that_was_moved_away_are_followed_by_another(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path, 3000)
    files = [writer.append(f"{name}.safetensors", b"x" * 1000).file for name in "abc"]
    assert files[0] == files[1] != files[2]
    files[2].rename(tmp_path / "moved")
    fourth = writer.append("d.safetensors", b"d")
    assert fourth.file not in files
    fourth.file.write_bytes(b"")
    assert writer.append("e.safetensors", b"e").file != fourth.file
    assert len({file.name for file in tmp_path.glob("*.tar")}) == 3


def test_two_writers_and_a_fork_have_tars_of_their_own(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path, 10**9)
    first = writer.append("a.safetensors", b"a").file
    assert TarWriter(tmp_path, 10**9).append("b.safetensors", b"b").file != first
    if (child := os.fork()) == 0:
        writer.append("c.safetensors", b"c")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert writer.append("d.safetensors", b"d").file == first
    assert sorted(sorted(contents(file)) for file in tmp_path.glob("*.tar")) == [
        ["a.safetensors", "d.safetensors"],
        ["b.safetensors"],
        ["c.safetensors"],
    ]


def test_a_disk_that_is_full_leaves_the_archive_whole(
    tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TarWriter(tmp_path / "new", 10**9)
    file = writer.append("a.safetensors", b"a" * 600).file
    write, room = os.pwrite, [1000]

    def full(handle: int, data: bytes, at: int) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(handle, data[: room[0]], at)
        room[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(RunFault, match=r"\.tar cannot be written \(No space left on device\); free space there"):
            writer.append("b.safetensors", b"b" * 3000)
    assert contents(file) == by_tarfile(file) == {"a.safetensors": b"a" * 600}
    writer.append("c.safetensors", b"c")
    assert contents(file) == by_tarfile(file) == {"a.safetensors": b"a" * 600, "c.safetensors": b"c"}


def test_a_folder_that_is_gone_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    writer = TarWriter(tmp_path / "run" / "masks", 10**9)
    writer.append("a.safetensors", b"a", within=tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(RunFault, match="the folder is gone; put it back"):
        writer.append("b.safetensors", b"b", within=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_name_fits_if_one_block_holds_it() -> None:
    folders = "f" * 100 + "/" + "n" * 88
    assert [fits(name) for name in ("a", folders, "x" * 101, "é" * 51, "\udcff")] == [True, True, False, False, False]
