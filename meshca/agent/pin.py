"""What the operator says of whom to trust at first contact: a root file, the system's roots, or a fingerprint.

There is no fourth way: a CA that none of these vouches for is never talked to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from meshca.errors import BadRequest, Unavailable

_PLAIN = re.compile(r"[0-9a-f]{64}")
_COLONS = re.compile(r"([0-9a-f]{2}:){31}[0-9a-f]{2}")
# Where distributions keep their bundle as one file (the list of Go's crypto/x509).
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
)

# How a certificate begins in PEM (RFC 7468 section 5), and in OpenSSL's own form (openssl-x509).
_MARKS = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class RootFile:
    """Trust the PEM certificates of a file."""

    path: Path


@dataclass(frozen=True, slots=True)
class SystemRoots:
    """Trust whom this machine trusts (SSL_CERT_FILE, or the distribution's bundle)."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Trust the root certificate with this SHA-256 over its DER, 64 lower-case hexadecimal characters."""

    sha256: str

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read 64 hexadecimal characters, plain or in pairs with colons (as openssl prints them), any case.

        Raises:
            BadRequest: reason `fingerprint`.
        """
        lowered = text.lower().removeprefix("sha256:")
        if _COLONS.fullmatch(lowered):
            lowered = lowered.replace(":", "")
        if not _PLAIN.fullmatch(lowered):
            raise BadRequest(
                "fingerprint",
                "expected the SHA-256 of the root certificate, 64 hexadecimal digits, plain or in pairs with "
                "colons (openssl x509 -in root.pem -noout -fingerprint -sha256)",
            )
        return cls(lowered)


Pin = RootFile | SystemRoots | Fingerprint


def read_root_file(path: Path) -> bytes:
    """The bytes of a root file.

    Raises:
        Unavailable: reason `root_file`.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        detail = f"cannot read the root file {path} ({error.strerror}); it must hold the CA's root as PEM"
        raise Unavailable("root_file", detail) from None


def read_system_roots() -> bytes:
    """The PEM bundle of this machine. gRPC alone would use the list compiled into it, which no operator chose.

    Checked: that it begins a certificate somewhere. Not checked: that each parses, as long as TLS finds its own.

    Raises:
        Unavailable: reason `system_roots`.
    """
    import ssl  # only here: `lean` says why

    chosen = ssl.get_default_verify_paths().cafile  # honours SSL_CERT_FILE; None when the file does not exist
    for path in (Path(name) for name in (chosen, *_SYSTEM_FILES) if name):
        if path.is_file():
            roots = read_root_file(path)
            if not any(mark in roots for mark in _MARKS):
                detail = (
                    f"the system roots {path} hold no certificate; mend the file, or pass --root or --fingerprint"
                )
                raise Unavailable("system_roots", detail)
            return roots
    raise Unavailable("system_roots", "this machine has no bundle of system roots; pass --root or --fingerprint")
