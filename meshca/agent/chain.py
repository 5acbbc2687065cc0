"""Building and checking the path from a leaf to a root we trust, offline.

The path itself is checked by cryptography's verifier (RFC 5280: names, signatures, validity, CA flag, path
length). Names and usages of the leaf are the caller's business; no root is trusted but those handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

from meshca.errors import Unavailable

# What reading a hostile certificate and its parts may raise; not all of them are ValueErrors.
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def verify_path(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> tuple[x509.Certificate, ...]:
    """The path from the leaf to one of the roots, leaf first, root last.

    Raises:
        Unavailable: reason `untrusted_chain`, when there is no valid path at this instant.
    """
    # The defaults are the web's rules (CA/Browser Forum), which private CAs need not follow.
    issuers = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
    )
    leaves = ExtensionPolicy.permit_all().require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    rules = PolicyBuilder().store(Store(list(roots))).time(now)
    verifier = rules.extension_policies(ca_policy=issuers, ee_policy=leaves).build_client_verifier()
    try:
        return tuple(verifier.verify(leaf, list(intermediates)).chain)
    except verification.VerificationError as error:
        detail = f"no valid certificate path to a trusted root ({error})"
        raise Unavailable("untrusted_chain", detail) from None


def is_signer(certificate: x509.Certificate) -> bool:
    """Whether it says of itself that it is a CA which may sign certificates (RFC 5280 sections 4.2.1.3, .9).

    Raises:
        Exception: one of UNREADABLE, when an extension does not parse.
    """
    extensions = certificate.extensions
    try:
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    try:
        return authority and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return authority  # key usage is optional; absent means unrestricted


def to_pem(certificates: Iterable[x509.Certificate]) -> str:
    """PEM text, one certificate after the other, each ending with a newline."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hexadecimal SHA-256 of the DER certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _signs_certificates(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    """Refuse an issuer whose key usage leaves out keyCertSign; the verifier turns the error into a refusal."""
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key usage of an issuer must allow to sign certificates")
