"""The lock of a store: one call at a time writes into it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from contextlib import suppress

import pytest

from scgeoae._anndata.store import Unfinished


def test_one_call_at_a_time(tmp_path):
    first, second = Unfinished(tmp_path / "map.zarr"), Unfinished(tmp_path / "map.zarr")
    for error in (KeyboardInterrupt, ValueError):
        with suppress(error), first.locked():
            with pytest.raises(RuntimeError, match=r"Another call is writing into '.*map\.zarr'"), second.locked():
                raise AssertionError
            with Unfinished(tmp_path / "other.zarr").locked() as other:
                assert other.out.name == "other.zarr"
            raise error
        assert not list(tmp_path.iterdir())
    with second.locked():
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child that has imported everything is forked")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    store, is_in = Unfinished(tmp_path / "map.zarr"), tmp_path / "is in"

    def hold() -> None:
        with store.locked():
            is_in.touch()
            time.sleep(60)

    child = multiprocessing.get_context("fork").Process(target=hold)
    child.start()
    try:
        while not is_in.exists() and child.is_alive():
            time.sleep(0.01)
        with pytest.raises(RuntimeError, match="Another call is writing"), store.locked():
            raise AssertionError
    finally:
        child.kill()
        child.join()
    is_in.unlink()
    # the file that was locked is left
    assert len(list(tmp_path.iterdir())) == 1
    with store.locked():
        pass
    assert not list(tmp_path.iterdir())


def test_errors_that_are_not_of_a_full_disk_stay_as_they_are(tmp_path):
    store = Unfinished(tmp_path / "map.zarr")
    for number in (errno.ENOSPC, errno.EDQUOT):
        message = rf"no room for the results in '.*map\.zarr\.part': {number}\. Make room"
        with pytest.raises(OSError, match=message), store.locked():
            raise OSError(number, str(number))
    for given in ((errno.EIO, "Input/output error"), (errno.ENOENT, "No such file", "cells.h5ad"), ("of HDF5",)):
        error = OSError(*given)
        with pytest.raises(OSError) as raised, store.locked():  # noqa: PT011
            raise error
        assert raised.value is error


def test_a_folder_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    message = r"Cannot write '.*map\.zarr\.part', .*: Permission denied\. Give an `out`"
    with pytest.raises(OSError, match=message), Unfinished(tmp_path / "map.zarr").locked():
        raise AssertionError
