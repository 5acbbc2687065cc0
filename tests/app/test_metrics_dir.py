"""Facts about the folder that processes share their metrics in."""

from __future__ import annotations

import os
import stat

from meshca.app.metrics_dir import DIRECTORY_VARIABLE, PROCESS_VARIABLE, environment, metrics_directory


def test_folder_is_private_and_named() -> None:
    """Inside the block the folder exists for us alone and the environment names it."""
    with metrics_directory() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert os.environ[DIRECTORY_VARIABLE] == str(folder)


def test_nothing_is_left() -> None:
    """After the block neither the folder nor the variables are there."""
    with metrics_directory() as folder:
        (folder / "counter_w0.db").write_bytes(b"x")
    assert not folder.exists()
    assert DIRECTORY_VARIABLE not in os.environ
    assert PROCESS_VARIABLE not in os.environ


def test_worker_has_its_own_name() -> None:
    """A worker's environment names the same folder and its own name."""
    with metrics_directory() as folder:
        made = environment(folder, "w3")
    assert (made[DIRECTORY_VARIABLE], made[PROCESS_VARIABLE]) == (str(folder), "w3")
