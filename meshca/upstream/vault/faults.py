"""Everything that Vault, or the way to it, can do wrong: one row each, with what it means and what mends it.

The one table behind error texts, the metric's label, `meshca vault check` and docs/operations/vault.md. The texts
that a server answers with are never shown: they may hold what was sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from meshca import metrics
from meshca.errors import MeshcaError, Unavailable
from meshca.printable import printable

_SHOWN: Final = 2000  # characters of a detail


class Fault(StrEnum):
    """What went wrong; the value is the metric's label, and after `vault_` the reason of the error."""

    SEALED = "sealed"
    UNINITIALIZED = "uninitialized"
    STANDBY = "standby"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    STALE = "stale"
    REDIRECTED = "redirected"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNTRUSTED = "untrusted"
    NOT_VAULT = "not_vault"
    TOO_LARGE = "too_large"
    FORBIDDEN = "forbidden"
    LOGIN_REFUSED = "login_refused"
    LOGIN_UNREADABLE = "login_unreadable"
    SECRET_ID_USED = "secret_id_used"  # noqa: S105 - a slug
    NAMESPACE = "namespace"
    MOUNT = "mount"
    ISSUER = "issuer"
    ISSUER_USAGE = "issuer_usage"
    ISSUER_ENDS = "issuer_ends"
    ROLE = "role"
    LEAF_ISSUER = "leaf_issuer"
    BAD_REQUEST = "bad_request"
    ANSWER = "answer"
    ROOT_UNPINNED = "root_unpinned"


@dataclass(frozen=True, slots=True)
class Row:
    """What a fault means.

    Attributes:
        passes: whether it can pass without an operator: then it is only waited for.
        meaning: what happened.
        remedy: what an operator does; names the field of the configuration, if it is that.
    """

    passes: bool
    meaning: str
    remedy: str


TABLE: Final = MappingProxyType(
    {
        Fault.SEALED: Row(True, "the server is sealed", "unseal it"),
        Fault.UNINITIALIZED: Row(False, "the server was never initialised", "initialise and unseal it"),
        Fault.STANDBY: Row(
            True,
            "the server is a standby that does not reach the active one",
            "wait for the election, or give the address of the active one in upstream.address",
        ),
        Fault.RATE_LIMITED: Row(
            True, "a quota of the server refuses us", "raise the quota of our path or namespace"
        ),
        Fault.SERVER_ERROR: Row(
            True, "the server failed, or a proxy before it has nobody behind it", "see the logs of both"
        ),
        Fault.STALE: Row(
            True, "the replica has not caught up with what we did before", "nothing, it is asked again"
        ),
        Fault.REDIRECTED: Row(
            True,
            "the server sends us to another host, which we do not follow with our token",
            "wait for the election, if that was the active one and is gone; otherwise name that host and port in"
            " upstream.redirect_hosts, or give its address in upstream.address",
        ),
        Fault.UNREACHABLE: Row(
            True, "nothing answers at upstream.address", "check address and port, and whether the server runs"
        ),
        Fault.TIMEOUT: Row(
            True,
            "no whole answer came within upstream.timeout; whether it was done is not known",
            "see the load of the server, or raise upstream.timeout",
        ),
        Fault.UNTRUSTED: Row(
            False,
            "the server's TLS certificate is not verified, or there is no TLS at that port",
            "put the roots of its certificate into upstream.ca_file, or its fingerprint into"
            " upstream.certificate_sha256; check that its names include the host of upstream.address",
        ),
        Fault.NOT_VAULT: Row(
            False,
            "what answers at upstream.address is no Vault",
            "check upstream.address, and whether it is http or https; a proxy may answer for it",
        ),
        Fault.TOO_LARGE: Row(
            False,
            "an answer is larger than 1 MiB and was not read",
            "check upstream.address and the issuers in the mount",
        ),
        Fault.FORBIDDEN: Row(
            False,
            "our token, fresh, may not do this",
            "give its role the policy that `meshca vault policy` prints",
        ),
        Fault.LOGIN_REFUSED: Row(
            False,
            "the server does not log us in",
            "compare upstream.login with the role in Vault: name, mount, whom it is bound to, and the audience",
        ),
        Fault.LOGIN_UNREADABLE: Row(False, "a file of upstream.login cannot be used", "mend the file"),
        Fault.SECRET_ID_USED: Row(
            False,
            "the wrapping token in upstream.login.approle.secret_id_file was used already, or has ended",
            "have another wrapped secret id put there; if it was not us who used it, revoke that secret id",
        ),
        Fault.NAMESPACE: Row(
            False,
            "the server has no such namespace, or none at all",
            "correct upstream.namespace, or leave it out",
        ),
        Fault.MOUNT: Row(
            False,
            "there is no PKI secrets engine at upstream.mount",
            "correct it, or upstream.namespace, or enable the engine",
        ),
        Fault.ISSUER: Row(
            False,
            "the mount has no issuer upstream.issuer",
            "give a name or id that `vault list <mount>/issuers` shows",
        ),
        Fault.ISSUER_USAGE: Row(
            False,
            "the issuer may not sign certificates",
            "add issuing-certificates to its usage, or give another one in upstream.issuer",
        ),
        Fault.ISSUER_ENDS: Row(
            False,
            "the issuer, or what is above it, ends too soon to sign for us",
            "renew it in Vault, or give another one in upstream.issuer",
        ),
        Fault.ROLE: Row(
            False,
            "the mount has no role upstream.sign_leaves.role",
            "make it by the command that `meshca vault policy` prints",
        ),
        Fault.LEAF_ISSUER: Row(
            False,
            "what is above our intermediate cannot sign leaves",
            "give an issuer with a key identifier and a key of P-256, P-384 or RSA in upstream.issuer",
        ),
        Fault.BAD_REQUEST: Row(
            False,
            "the server refuses what we ask for",
            "see its audit log; the role of upstream.sign_leaves may not allow it",
        ),
        Fault.ANSWER: Row(
            False,
            "what the server gave is not what was asked for",
            "check upstream.issuer and its chain in Vault, of leaves the role upstream.sign_leaves.role, and of"
            " any other answer whether upstream.address is a Vault and nothing before it changes answers",
        ),
        Fault.ROOT_UNPINNED: Row(
            False,
            "the issuer is below a root that is not pinned",
            "if it is yours, add it to upstream.roots; until then nothing is signed below it",
        ),
    }
)


class Throttled(Unavailable):
    """A quota refuses us, and the server says for how long.

    Attributes:
        retry_after: seconds.
    """

    def __init__(self, error: Unavailable, retry_after: float) -> None:
        super().__init__(error.reason, error.detail)
        self.retry_after = retry_after


def failure(fault: Fault, detail: str = "") -> Unavailable:
    """The error for a fault.

    Args:
        fault: what went wrong.
        detail: where, in our own words: never a text of the server's. Names of certificates may be in it, so it
            is cut, and harmless for a log.
    """
    row = TABLE[fault]
    where = f" ({printable(detail[:_SHOWN])})" if detail else ""
    return Unavailable(f"vault_{fault.value}", f"{row.meaning}{where}; {row.remedy}")


def fault_of(error: MeshcaError | None) -> Fault | None:
    """The fault that an error of `failure` tells; None for another error."""
    reason = error.reason if isinstance(error, Unavailable) else ""
    return next((fault for fault in Fault if reason == f"vault_{fault.value}"), None)


def count(error: MeshcaError | None) -> None:
    """Count a fault that a look, a signature or a login met, whoever found it; another error is none."""
    if fault := fault_of(error):
        metrics.vault_faults.labels(fault.value).inc()


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Count the fault that a block ends with."""
    try:
        yield
    except Unavailable as error:
        count(error)
        raise
