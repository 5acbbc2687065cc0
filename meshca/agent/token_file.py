"""The workload's token, read anew for every call: the kubelet replaces the file while we run.

What the token says about us is a hint for our own request and logs, and must never be believed beyond that:
nothing here checks its signature.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from meshca.errors import BadRequest, Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.secret import Secret

LONGEST = 64 * 1024  # bytes; service-account tokens have about 1 KiB, gRPC's default metadata limit is 8 KiB


def read_token(path: Path) -> Secret[str]:
    """The token in the file, without surrounding white space.

    Raises:
        Unavailable: reason `token_file`, when it is missing, unreadable, empty, too long or not one ASCII word.
            The kubelet or an operator can mend each of these while we wait.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST + 1)
    except OSError as error:
        raise Unavailable(
            "token_file",
            f"cannot read the token file {path} ({error.strerror}); mount a projected service-account token "
            "there or name another file with --token-file",
        ) from None
    token = raw.strip()
    if not token:
        raise Unavailable("token_file", f"the token file {path} is empty; expected one bearer token")
    if len(raw) > LONGEST or not all(0x21 <= byte <= 0x7E for byte in token):
        raise Unavailable(
            "token_file", f"the token file {path} does not hold one printable token of at most {LONGEST} bytes"
        )
    return Secret(token.decode("ascii"))


def claimed_account(unverified_token: Secret[str]) -> ServiceAccount | None:
    """The service account that the token claims in `sub`; None when it is no such token."""
    parts = unverified_token.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        subject = claims.get("sub") if isinstance(claims, dict) else None
        return ServiceAccount.parse_username(subject) if isinstance(subject, str) else None
    except (binascii.Error, ValueError, RecursionError, BadRequest):
        return None
