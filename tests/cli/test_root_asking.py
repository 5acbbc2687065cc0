"""What commands that act on roots share; the rest of it is seen through each of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.cli.root_asking import check_reason, chosen, window_of
from meshca.errors import ConfigError, NotFound
from tests.fakes.root_reports import NEW, OLD, record

BOTH = [record(), record(id=NEW)]


@pytest.mark.parametrize("text", [OLD, OLD[:4], OLD.upper(), "0A:0A:0A"])
def test_a_root_by_the_beginning_of_its_id(text: str) -> None:
    """As openssl prints it, too."""
    assert chosen(BOTH, text) == record()


@pytest.mark.parametrize("text", ["", "0a0", "0a0a\n", "xyzw", "0a0a 0b0b"])
def test_what_is_no_id_is_refused(text: str) -> None:
    """Wrong usage."""
    with pytest.raises(ConfigError, match="expected 4 or more hexadecimal digits"):
        chosen(BOTH, text)


def test_an_unknown_root() -> None:
    """Is not found."""
    with pytest.raises(NotFound, match="no id begins with 0c0c"):
        chosen(BOTH, "0c0c")


def test_a_window() -> None:
    """Absent, or a duration."""
    assert (window_of(None), window_of("5m")) == (None, timedelta(minutes=5))
    with pytest.raises(ConfigError, match="expected a duration"):
        window_of("soon")


def test_a_window_of_8_days() -> None:
    """Is wrong usage, told without the server; seven are the most."""
    assert window_of("168h") == timedelta(days=7)
    with pytest.raises(ConfigError, match="--window: expected at most 7d"):
        window_of("192h")


def test_blanks_are_no_reason() -> None:
    """They explain nothing."""
    check_reason("--force", "disk lost")
    with pytest.raises(ConfigError, match="--force needs a reason"):
        check_reason("--force", "  ")
