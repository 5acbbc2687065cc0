"""`meshca version`."""

from __future__ import annotations

from importlib.metadata import version

from meshca.cli.output import Format, Output, emit


def command(output: Output = Format.TEXT) -> None:
    """Print the version."""
    emit({"version": version("meshca")}, version("meshca"), output)
