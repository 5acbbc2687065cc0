"""The CA's own TLS certificate: DNS and IP names, no SPIFFE ID, server authentication only.

Made by the plain builder, since it is made once in hours, and linted like every leaf.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca import csr
from meshca.errors import ConfigError
from meshca.public_key import PublicKey
from meshca.svid import blueprint, lint, signature
from meshca.svid.draft import Draft, Stamp, want
from meshca.svid.issuer import Issuer

LIFETIME = timedelta(hours=24)  # renewed at half of it by whoever serves
# Host names of RFC 1123 section 2.1 in lower case; the first label may be a star (RFC 6125 section 6.4.3).
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_LONGEST_DNS_NAME = 253
_SERVER_ONLY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def read_names(texts: Sequence[str]) -> x509.SubjectAlternativeName:
    """DNS names and IP addresses, in order, each once.

    Raises:
        ConfigError: with every text that is neither; or when there is none at all.
    """
    names: list[x509.GeneralName] = []
    problems = [] if texts else ["at least one name is needed: clients verify the server by it"]
    for text in dict.fromkeys(texts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            if len(text) <= _LONGEST_DNS_NAME and _DNS_NAME.fullmatch(text):
                names.append(x509.DNSName(text))
            else:
                problems.append(f"{text!r} is neither an IP address nor a DNS name in lower case")
    if problems:
        raise ConfigError("names of the serving certificate", problems)
    return x509.SubjectAlternativeName(names)


def draft_serving(
    key: PublicKey, issuer: Issuer, names: x509.SubjectAlternativeName, lifetime: timedelta, stamp: Stamp
) -> Draft:
    """Draft the certificate for a key of our own.

    Raises:
        Unavailable: reason `signer_not_begun` or `signer_expired`.
        InvariantBroken: reason `lint`.
    """
    wanted = want(csr.ours(key), issuer, lifetime, stamp)
    throw_away = signature.throw_away(issuer.public_key)
    made = blueprint.leaf(wanted, names, _SERVER_ONLY, throw_away).public_bytes(Encoding.DER)
    return Draft(wanted, made, lambda unproven: lint.leaf(unproven, wanted, names, _SERVER_ONLY))
