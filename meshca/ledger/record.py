"""What the ledger keeps of every signature: an intent before it, an outcome after it.

Both are append-only facts; neither is ever changed. An intent without an outcome means that the process ended
between the two: a certificate may exist, but nobody was answered. Keys, tokens and CSRs are kept as hashes and
ids only.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from meshca.errors import InvariantBroken
from meshca.identity.caller import NO_LABELS

_SERIAL = re.compile(r"[1-9a-f][0-9a-f]{0,39}")  # RFC 5280 section 4.1.2.2: positive, at most 20 octets


class Result(enum.StrEnum):
    """What became of an intent."""

    ISSUED = "issued"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """That we are about to sign, for whom, and why; names are kept as the text that was decided on.

    Attributes:
        request_id: the id that the client received and the logs carry.
        serial: of the certificate: lower-case hexadecimal without leading zeros.
        spiffe_id: the identity in the certificate.
        proven_by: the authenticator that proved the caller now.
        issuer: our configured name of the issuer whose token began the chain of proofs.
        namespace: of the service account.
        service_account: its name.
        pod_name, pod_uid: the pod that the proof is bound to, empty when unbound.
        node_name, node_uid: the node of that pod, empty when the proof names none.
        token_id: `jti` of the token that began the chain, empty when it has none.
        proven_at: when a token last proved the caller; renewals by certificate hand it on.
        parent_serial: of the certificate that proved the caller, empty for a token.
        labels: workload labels from proven data.
        key_type: of the certified key.
        key_sha256: of the certified key's SubjectPublicKeyInfo (DER), lower-case hexadecimal.
        csr_sha256: of the CSR (DER), lower-case hexadecimal, empty for a key that we made.
        signer: the id of the signing certificate.
        rule: the admission rule that granted it.
        intended_at: when this was recorded.
        not_before, not_after: the certificate's validity.
        requested_by: `namespace/name` of the node proxy's account that asked for the workload and holds the key;
            empty when the workload asked itself.

    Raises:
        InvariantBroken: reason `serial_spelling`, when the serial is spelled another way.
    """

    request_id: str
    serial: str
    spiffe_id: str
    proven_by: str
    issuer: str
    namespace: str
    service_account: str
    pod_name: str = ""
    pod_uid: str = ""
    node_name: str = ""
    node_uid: str = ""
    token_id: str = ""
    proven_at: datetime
    parent_serial: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    key_type: str
    key_sha256: str
    csr_sha256: str = ""
    signer: str
    rule: str
    intended_at: datetime
    not_before: datetime
    not_after: datetime
    requested_by: str = ""

    def __post_init__(self) -> None:
        if not _SERIAL.fullmatch(self.serial):
            raise InvariantBroken(
                "serial_spelling", "a serial is recorded as lower-case hexadecimal without leading zeros"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an intent.

    Attributes:
        serial: the intent's.
        result: ISSUED or FAILED; UNKNOWN is the absence of an outcome and cannot be recorded.
        reason: stable slug of why it failed, empty when issued.
        finished_at: when the signature was made or given up.

    Raises:
        InvariantBroken: reason `outcome_unknown`.
    """

    serial: str
    result: Result
    reason: str = ""
    finished_at: datetime

    def __post_init__(self) -> None:
        if self.result is Result.UNKNOWN:
            raise InvariantBroken("outcome_unknown", "an unknown outcome is not recorded, it is the lack of one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuance:
    """An intent with its outcome; None when there is none (yet)."""

    intent: Intent
    outcome: Outcome | None = None

    @property
    def result(self) -> Result:
        """What became of it."""
        return self.outcome.result if self.outcome else Result.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLeaf:
    """A certificate that has not ended and may be in somebody's hands: of an intent that did not fail.

    Attributes:
        serial, spiffe_id, pod_name, pod_uid, node_name, requested_by, parent_serial, signer: as in `Intent`.
        issued_at: when its intent was recorded.
        not_after: when it ends.
    """

    serial: str
    spiffe_id: str
    pod_name: str = ""
    pod_uid: str = ""
    node_name: str = ""
    requested_by: str = ""
    parent_serial: str = ""
    signer: str
    issued_at: datetime
    not_after: datetime
