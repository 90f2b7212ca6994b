"""Hostile archives stay inside their folder; half-unpacked datasets are told and repaired."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from evpcli.domain.errors import DamagedError, NetworkError
from evpcli.engine.datasets.public.completion import find_state, read_completion
from evpcli.engine.datasets.public.fetching import fetch_dataset
from evpcli.engine.files.archives import ArchiveLimits, unpack_archive
from tests.dataset_builders import TINY, make_tar, make_zip, serve_files

FILES = {"a.txt": b"one", "deep/er/b.txt": b"two", "./c.txt": b"three"}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tar", make_tar(FILES, "w")),
        ("x.tgz", make_tar(FILES)),
        ("x.tar.gz", make_tar(FILES)),
        ("x.tar.bz2", bz2.compress(make_tar(FILES, "w"))),
        ("x.tar.xz", lzma.compress(make_tar(FILES, "w"))),
        ("x.zip", make_zip(FILES)),
    ],
)
def test_every_kind_unpacks(name: str, content: bytes, tmp_path: Path) -> None:
    found = unpack_archive(write(tmp_path / name, content), tmp_path / "out")
    assert read_all(tmp_path / "out") == {
        "a.txt": b"one",
        "deep/er/b.txt": b"two",
        "c.txt": b"three",
    }
    assert (found.files, found.total_bytes, found.left_out) == (3, 11, 0)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a/" * 40 + "b", "."])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_names_that_leave_the_folder_are_refused(make, name: str, tmp_path: Path) -> None:
    ending = "tgz" if make is make_tar else "zip"
    name = f"{tmp_path}/evil" if name == "/evil" else name
    archive = write(tmp_path / f"x.{ending}", make({name: b"evil"}))
    with pytest.raises(DamagedError):
        unpack_archive(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "evil").exists()
    assert not (tmp_path / "evil").exists()


def make_tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


def test_links_and_devices_are_never_made(tmp_path: Path) -> None:
    canary = write(tmp_path / "canary", b"untouched")
    content = make_tar_of(
        (member("out", tarfile.SYMTYPE, str(tmp_path)), b""),
        (member("out/canary"), b"evil"),
        (member("hard", tarfile.LNKTYPE, str(canary)), b""),
        (member("pipe", tarfile.FIFOTYPE), b""),
        (member("device", tarfile.CHRTYPE), b""),
    )
    found = unpack_archive(write(tmp_path / "x.tgz", content), tmp_path / "fresh")
    assert canary.read_bytes() == b"untouched"
    assert found.left_out == 4
    assert read_all(tmp_path / "fresh") == {"out/canary": b"evil"}
    assert not any(path.is_symlink() for path in (tmp_path / "fresh").rglob("*"))


def test_a_zipped_link_is_never_made(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (0o120777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    found = unpack_archive(write(tmp_path / "x.zip", buffer.getvalue()), tmp_path / "out")
    assert (found.files, found.left_out) == (0, 1)


def test_modes_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    program = member("run.sh")
    program.mode = 0o4777
    unpack_archive(write(tmp_path / "x.tgz", make_tar_of((program, b"#!"))), tmp_path / "out")
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o7111 == 0


LIMITS = ArchiveLimits(files=3, total_bytes=2**22, ratio=5, ratio_from=2**16)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratio.tgz", make_tar({"zeros": bytes(2**20)})),
        ("ratio.zip", make_zip({"zeros": bytes(2**20)})),
        ("count.tgz", make_tar({f"{n}": b"" for n in range(4)})),
        ("count.zip", make_zip({f"{n}": b"" for n in range(4)})),
        ("bytes.zip", make_zip({"noise": os.urandom(2**22 + 1)})),
        ("header.tgz", make_tar_of((member("n" * 200_000), b"x"))),
        ("clash.tgz", make_tar({"a": b"x", "a/b": b"y"})),
        ("long.tgz", make_tar({"n" * 300: b"y"})),
        ("cut.tgz", make_tar({"noise": os.urandom(50_000)})[:20_000]),
        ("cut.zip", make_zip({"noise": os.urandom(50_000)})[:20_000]),
        ("text.tgz", b"this is no archive"),
        ("page.zip", b"<html>no archive</html>"),
        ("empty.tgz", b""),
        ("flipped.tgz", make_tar({"n": os.urandom(9000)})[:-2000] + b"\0" * 2000),
    ],
)
def test_bombs_and_damage_are_refused_quickly(name: str, content: bytes, tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(DamagedError):
        unpack_archive(write(tmp_path / name, content), tmp_path / "out", limits=LIMITS)
    assert time.monotonic() - before < 1
    assert sum(len(data) for data in read_all(tmp_path / "out").values()) <= 2**22


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 8 * 2**30
    archive = write(tmp_path / "x.tar", header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(DamagedError) as caught:
        unpack_archive(archive, tmp_path / "out")
    assert "a header asks for" in str(caught.value.found)


def test_the_marker_counts_what_is_there(tmp_path: Path) -> None:
    tiny = TINY["dtd"]()
    with serve_files() as served:
        served.files = tiny.downloads
        spec = tiny.to_spec("dtd", served.address)
        fetch_dataset(spec, tmp_path)
    found = read_completion(tmp_path / "dtd")
    assert found is not None
    assert found.files == 9
    assert list(found.sources) == ["dtd-r1.0.1.tar.gz"]
    assert not (tmp_path / ".downloads" / "dtd").exists()


@pytest.mark.parametrize("harm", ["file", "folder", "marker", "size", "more", "marker-text"])
def test_a_half_unpacked_dataset_is_told_and_repaired(harm: str, tmp_path: Path) -> None:
    tiny = TINY["dtd"]()
    folder = tmp_path / "dtd"
    marker = folder / ".evp-complete.json"
    with serve_files() as served:
        served.files = tiny.downloads
        spec = tiny.to_spec("dtd", served.address)
        fetch_dataset(spec, tmp_path)
        whole = read_all(folder)
        if harm == "file":
            (folder / "dtd" / "images" / "banded" / "banded_0.jpg").unlink()
        elif harm == "folder":
            shutil.rmtree(folder / "dtd" / "labels")
        elif harm == "marker":
            marker.unlink()
        elif harm == "size":
            (folder / "dtd" / "images" / "banded" / "banded_0.jpg").write_bytes(b"cut")
        elif harm == "more":
            (folder / "stray").write_bytes(b"x")
        else:
            marker.write_text(json.dumps({"files": 1}))
        assert find_state(spec, tmp_path) == "partial"
        with pytest.raises(NetworkError):
            fetch_dataset(spec, tmp_path, offline=True)
        fetch_dataset(spec, tmp_path)
    assert find_state(spec, tmp_path) == "ready"
    assert read_all(folder) == whole
    assert not list(tmp_path.glob(".unpacking-*"))


def test_a_killed_unpacking_is_told_and_cleaned(tmp_path: Path) -> None:
    tiny = TINY["dtd"]()
    with serve_files() as served:
        served.files = tiny.downloads
        spec = tiny.to_spec("dtd", served.address)
        (tmp_path / ".unpacking-dtd-99999" / "dtd").mkdir(parents=True)
        waiting = tmp_path / ".downloads" / "dtd"
        waiting.mkdir(parents=True)
        (waiting / "dtd-r1.0.1.tar.gz").write_bytes(tiny.downloads["dtd-r1.0.1.tar.gz"])
        assert find_state(spec, tmp_path) == "partial"
        fetch_dataset(spec, tmp_path, offline=True)  # the archive is there: no network needed
        assert served.asked == []
    assert find_state(spec, tmp_path) == "ready"
    assert not list(tmp_path.glob(".unpacking-*"))


def make_raw_tar(*members: tuple[bytes, bytes]) -> bytes:
    """Members of a type and a content, as a tar without an end."""
    parts = []
    for kind, content in members:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, len(content)
        parts += [info.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % 512)]
    return b"".join(parts)


PAX, NAME, FILE = tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE
OVERLAP = b"5 ab " * 12_000 + b"=1\n"
SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
COSTLY_HEADERS = {
    "long number": [(PAX, b"1" * 80_000)],
    "long number, short header": [(PAX, b"1" * 60_000)],
    "many headers": [(PAX, b"1" * 500 + b" ")] * 3_000,
    "overlapping records": [(PAX, OVERLAP), (FILE, b"")] * 40,
    "huge name": [(NAME, b"a" * 10_000_000)],
    "chain of names": [(NAME, b"a" * 200)] * 20_000,
    "sparse map without an end": [(PAX, SPARSE), (FILE, b"1" * 20_000_000)],
    "numbers side by side": [(PAX, (b"1" * 64 + b" ") * 900), (FILE, b"")] * 60,
}


@pytest.mark.parametrize("name", COSTLY_HEADERS)
def test_costly_headers_are_refused_at_once(name: str, tmp_path: Path) -> None:
    content = lzma.compress(make_raw_tar(*COSTLY_HEADERS[name]))
    archive = write(tmp_path / "x.tar.xz", content)
    begin = time.process_time()
    with pytest.raises(DamagedError, match="damaged") as caught:
        unpack_archive(archive, tmp_path / "out")
    assert time.process_time() - begin < 1
    assert caught.value.found


def test_usual_pax_headers_unpack(tmp_path: Path) -> None:
    """Long names, fractions of seconds, and a Mac's extended attributes of 20 kB on one file."""
    buffer, names = io.BytesIO(), [f"{'ü' * 90}/{n:03}.txt" for n in range(200)]
    with tarfile.open(fileobj=buffer, mode="w:xz", format=tarfile.PAX_FORMAT) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 3, 1_700_000_000.123456
            if number % 20 == 0:
                member.pax_headers["LIBARCHIVE.xattr.com.apple.ResourceFork"] = "QUJD" * 5_000
            archive.addfile(member, io.BytesIO(b"one"))
    archive_path = write(tmp_path / "x.tar.xz", buffer.getvalue())
    assert unpack_archive(archive_path, tmp_path / "out").files == 200
    assert set(read_all(tmp_path / "out")) == set(names)
