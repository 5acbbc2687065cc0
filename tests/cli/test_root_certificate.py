"""What the certificate of a root says."""

from __future__ import annotations

import pytest

from meshca.cli.root_certificate import Says, certificate_says
from meshca.errors import ConfigError
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.root_reports import OLD, record


def test_what_is_kept_is_enough() -> None:
    """Nothing else has to be asked for."""
    ca = make_ca("old", begin=NOW - DAY, end=NOW + DAY)
    assert certificate_says(record(pem=ca.pem)) == Says(
        subject="CN=old", not_before=NOW - DAY, not_after=NOW + DAY
    )


def test_what_is_no_certificate_is_refused() -> None:
    """By the id of its record."""
    with pytest.raises(ConfigError, match=OLD):
        certificate_says(record(pem="PEM\n"))
