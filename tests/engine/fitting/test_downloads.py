from __future__ import annotations

import pytest

from evpcli.domain.errors import NetworkError, NotFoundError
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.fitting.downloads import check_offline, list_downloads


def test_packaged_things_need_no_download() -> None:
    assert list_downloads("digits", find_entry("mini")) == ()


def test_everything_that_is_missing_is_named_with_its_command() -> None:
    downloads = list_downloads("pets", find_entry("ViT-B/32"))
    assert [d.command for d in downloads] == [
        "evp datasets download pets",
        "evp backbones download ViT-B/32",
    ]
    with pytest.raises(NetworkError) as caught:
        check_offline(downloads, offline=True)
    assert all(d.command in str(caught.value.hint) for d in downloads)
    check_offline(downloads, offline=False)
    check_offline((), offline=True)


def test_local_weights_take_the_place_of_a_download() -> None:
    assert list_downloads("digits", find_entry("ViT-B/32"), has_weights=True) == ()


def test_an_unknown_dataset_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(NotFoundError):
        list_downloads("no-such-set", find_entry("mini"))
