"""Reading a file that a stranger may have planted."""

import os

import pytest

from evpcli.domain.errors import DamagedError, NotFoundError, StorageError
from evpcli.engine.files.regular_file import read_regular_file


def test_the_whole_content_comes_back(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    assert read_regular_file(tmp_path / "file", 4 << 20) == data


def test_short_reads_are_continued(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"0123456789")
    real = os.read
    monkeypatch.setattr(os, "read", lambda handle, size: real(handle, min(size, 3)))
    assert read_regular_file(tmp_path / "file", 100) == b"0123456789"


def test_a_file_that_grows_while_it_is_read_stays_within_the_limit(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(os, "read", lambda handle, size: b"x" * 60)
    with pytest.raises(DamagedError, match="too large"):
        read_regular_file(tmp_path / "file", 100)


def test_a_link_is_followed_only_when_told(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link", 100, follow=True) == b"data"
    with pytest.raises(DamagedError, match="no regular file"):
        read_regular_file(tmp_path / "link", 100)


def test_what_cannot_be_read_is_a_storage_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"data")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "read", refuse)
    with pytest.raises(StorageError, match="cannot read"):
        read_regular_file(tmp_path / "file", 100)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_regular_file(tmp_path / "absent", 100)
