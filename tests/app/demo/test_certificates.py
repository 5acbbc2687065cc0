"""What an Envoy holds is read from its administration page."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from meshca.app.demo.certificates import Held, held
from meshca.errors import InvariantBroken

WEB = "spiffe://cluster.local/ns/shop/sa/web"


def page(*serials: str) -> str:
    """The text of /certs, one TLS context for each serial number."""
    return json.dumps(
        {
            "certificates": [
                {
                    "ca_cert": [{"serial_number": "1"}],
                    "cert_chain": [
                        {
                            "path": "<inline>",
                            "serial_number": serial,
                            "subject_alt_names": [{"uri": WEB}],
                            "days_until_expiration": "0",
                            "valid_from": "2026-01-01T11:58:00Z",
                            "expiration_time": "2026-01-01T12:00:20Z",
                        }
                    ],
                }
                for serial in serials
            ]
        }
    )


def test_contexts_with_the_same_certificate_are_one() -> None:
    """Two listeners hold one certificate."""
    expected = Held(spiffe_id=WEB, serial="abcdef0123", not_after=datetime(2026, 1, 1, 12, 0, 20, tzinfo=UTC))
    assert held(page("abcdef0123", "abcdef0123")) == {expected}
    assert str(expected) == f"{WEB}  until 12:00:20  serial abcdef01..."


def test_a_renewal_on_its_way_shows_as_two() -> None:
    """Until every context has the new one."""
    assert {certificate.serial for certificate in held(page("a", "b"))} == {"a", "b"}


@pytest.mark.parametrize("text", ["{}", '{"certificates": [{"ca_cert": []}]}'], ids=["empty", "roots only"])
def test_no_certificate_is_a_failure(text: str) -> None:
    """It is never taken for `renewed`."""
    with pytest.raises(InvariantBroken, match="no certificate"):
        held(text)
