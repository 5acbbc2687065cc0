"""Which fault a status and the server's words tell."""

from __future__ import annotations

import pytest

from meshca.upstream.vault.faults import Fault
from meshca.upstream.vault.statuses import fault_for


@pytest.mark.parametrize(
    ("status", "errors", "expected"),
    [
        (404, ["no handler for route 'pki/x'"], Fault.MOUNT),
        (404, ["1 error occurred:\n\t* unsupported path\n\n"], Fault.MOUNT),
        (404, ["Namespace not found"], Fault.NAMESPACE),
        (400, ["namespaces are not supported"], Fault.NAMESPACE),
        (500, ["unable to find PKI issuer for reference: x"], Fault.ISSUER),
        (500, ["no default issuer currently configured"], Fault.ISSUER),
        (
            500,
            ["requested usage issuing-certificates for issuer [id:1] but only had usage read-only"],
            Fault.ISSUER_USAGE,
        ),
        (400, ["wrapping token is not valid or does not exist"], Fault.SECRET_ID_USED),
        (400, ["unknown role: mesh-leaf"], Fault.ROLE),
        (400, ["serial_number unknown role not allowed by this role"], Fault.BAD_REQUEST),
        (400, ["user_id no default issuer is not allowed by this role"], Fault.BAD_REQUEST),
        (408, None, Fault.TIMEOUT),
        (412, None, Fault.STALE),
        (418, [], Fault.NOT_VAULT),
        (503, ["Vault is sealed"], Fault.SEALED),
        (503, ["error performing token check: vault is SEALED"], Fault.SEALED),
        (501, ["Vault is not initialized"], Fault.UNINITIALIZED),
        (503, ["server is not initialized"], Fault.UNINITIALIZED),
        (503, None, Fault.SERVER_ERROR),
        (503, [], Fault.SERVER_ERROR),
        (503, ["no healthy upstream"], Fault.SERVER_ERROR),
        (501, None, Fault.SERVER_ERROR),
        (501, ["not implemented"], Fault.SERVER_ERROR),
        (400, ["the box is sealed"], Fault.BAD_REQUEST),
        (599, None, Fault.SERVER_ERROR),
        (530, [], Fault.SERVER_ERROR),
        (600, ["strange"], Fault.NOT_VAULT),
    ],
)
def test_fault(status: int, errors: list[str] | None, expected: Fault) -> None:
    """Words tell faults apart that share a status."""
    assert fault_for(status, errors, logged_in=True) is expected


def test_refused() -> None:
    """Where no token is needed, a refusal means that there is nothing."""
    assert fault_for(403, ["permission denied"], logged_in=True) is Fault.FORBIDDEN
    assert fault_for(403, ["permission denied"], logged_in=False) is Fault.MOUNT
