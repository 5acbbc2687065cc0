"""A PKCS#11 token in software, of one run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from meshca.keystore.token_uri import Token

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


def find_softhsm() -> Path | None:
    """Its module; None when it or its tool is not installed."""
    return MODULE if MODULE.exists() and shutil.which("softhsm2-util") else None


@contextlib.contextmanager
def running_softhsm() -> Iterator[Token]:
    """An empty token. The library reads where tokens are once in a process, so there is one for a run."""
    with tempfile.TemporaryDirectory(prefix="meshca-hsm-") as name:
        folder = Path(name)
        (folder / "tokens").mkdir()
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
        os.environ["SOFTHSM2_CONF"] = str(config)
        made = (
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "meshca",
            "--pin",
            "1234",
            "--so-pin",
            "4321",
        )
        subprocess.run(made, check=True, capture_output=True)
        pin = folder / "pin"
        pin.touch(0o600)
        pin.write_text("1234\n")
        yield Token(module=MODULE, label="meshca", pin_file=pin)
