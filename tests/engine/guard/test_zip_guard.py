"""What a stranger's zip may contain."""

import io
import mmap
import struct
import zipfile
import zlib

import pytest

from evpcli.domain.errors import DamagedError
from evpcli.engine.guard.zip_guard import read_stored_entries
from evpcli.engine.prompts.prompt_file import encode_prompt
from tests.builders import build_manifest, build_pixels
from tests.hostile_files import build_zip

RECORDS = {"data.pkl": b"pickle", "data/0": bytes(range(256)), "byteorder": b"little"}


def rewrite(names, method=zipfile.ZIP_STORED, comment=b""):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as archive:
        archive.comment = comment
        for name in names:
            archive.writestr(name, b"content")
    return memory.getvalue()


def test_entries_are_read_without_their_folder():
    entries = read_stored_entries(build_zip(RECORDS))
    assert {name: bytes(entries[name]) for name in RECORDS} == RECORDS


def test_a_prompt_file_passes():
    assert "data/0" in read_stored_entries(encode_prompt(build_pixels(), build_manifest()))


def test_every_flipped_bit_is_noticed():
    sound = build_zip(RECORDS)
    for place in range(8 * len(sound)):
        flipped = bytearray(sound)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            read_stored_entries(bytes(flipped))


def test_every_truncation_is_noticed():
    sound = build_zip(RECORDS)
    for length in range(len(sound)):
        with pytest.raises(DamagedError):
            read_stored_entries(sound[:length])


@pytest.mark.parametrize(
    "make",
    [
        lambda data: b"junk" + data,
        lambda data: data + b"junk",
        lambda data: data + b"\0",
        lambda data: data + data,
        lambda data: data[: data.find(b"PK\x01\x02")] + b"gap" + data[data.find(b"PK\x01\x02") :],
    ],
    ids=["prefix", "suffix", "one byte", "twice", "gap"],
)
def test_bytes_around_the_entries_are_refused(make):
    with pytest.raises(DamagedError):
        read_stored_entries(make(build_zip(RECORDS)))


def test_compressed_entries_are_refused():
    """Half a megabyte could otherwise become a gigabyte."""
    data = rewrite(["archive/data.pkl"], zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedError, match="damaged or not from"):
        read_stored_entries(data)


def test_a_comment_is_refused():
    with pytest.raises(DamagedError):
        read_stored_entries(rewrite(["archive/data.pkl"], comment=b"hello"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name",
    ["../data.pkl", "archive/../data.pkl", "archive/data.pkl", "archive/extra", "/data.pkl", "x"],
)
def test_odd_and_duplicate_names_are_refused(name):
    with pytest.raises(DamagedError):
        read_stored_entries(torch_like(["archive/data.pkl", name]))


@pytest.mark.parametrize("folder", ["..", ".", "", "a\x1b[31m", "a\0b"])
def test_odd_folders_are_refused(folder):
    with pytest.raises(DamagedError):
        read_stored_entries(torch_like([f"{folder}/data.pkl"]))


def test_what_the_test_builds_is_otherwise_sound():
    assert set(read_stored_entries(torch_like(["archive/data.pkl", "archive/version"]))) == {
        "data.pkl",
        "version",
    }


def test_torchscript_and_numpy_are_named():
    with pytest.raises(DamagedError, match="TorchScript"):
        read_stored_entries(torch_like(["m/data.pkl", "m/code/__torch__.py"]))
    with pytest.raises(DamagedError, match="NumPy"):
        read_stored_entries(torch_like(["a.npy", "b.npy"]))


def test_overlapping_entries_are_refused():
    data = bytearray(torch_like(["a/data.pkl", "a/version"]))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    with pytest.raises(DamagedError):
        read_stored_entries(bytes(data))


def torch_like(names):
    """A zip as torch lays it out, with any names."""
    content, body, directory = b"content", b"", b""
    crc = zlib.crc32(content)
    for name in names:
        raw = name.encode()
        directory += struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\x01\x02", 0, 0, 0x0808, 0, 0, 0, crc, len(content), len(content)),
            *(len(raw), 0, 0, 0, 0, 0, len(body)),
        )
        directory += raw
        body += struct.pack("<4s5H3I2H", b"PK\x03\x04", 0, 0x0808, 0, 0, 0, 0, 0, 0, len(raw), 0)
        body += raw + content + struct.pack("<4s3I", b"PK\x07\x08", crc, 7, 7)
    sizes = (len(names), len(names), len(directory), len(body))
    return body + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *sizes, 0)


def test_the_number_of_entries_is_limited():
    names = ["a/data.pkl", *(f"a/data/{number}" for number in range(40))]
    with pytest.raises(DamagedError):
        read_stored_entries(torch_like(names))
    assert len(read_stored_entries(torch_like(names), max_entries=41)) == 41


def test_a_mapped_file_is_read_as_its_bytes(tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(build_zip(RECORDS))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert read_stored_entries(mapped) == read_stored_entries(path.read_bytes())
