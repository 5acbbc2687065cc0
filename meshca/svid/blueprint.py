"""A leaf as cryptography's own builder makes it: slow, plain, and the measure of the fast way.

The template (`svid.template`) is cut from it once per issuer; tests hold both ways against each other.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.svid import signature
from meshca.svid.wanted import Wanted


def svid(wanted: Wanted, identity: SpiffeId, key: signature.SigningKey) -> x509.Certificate:
    """A whole X.509-SVID, signed by this key (rules X1-X7 of X509-SVID.md)."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return leaf(wanted, names, purposes, key)


def leaf(
    wanted: Wanted, names: x509.SubjectAlternativeName, purposes: x509.ExtendedKeyUsage, key: signature.SigningKey
) -> x509.Certificate:
    """Any leaf that we make, signed by this key.

    The two extensions that differ between the leaves of one issuer and key type come last: the template
    counts on it.
    """
    rsa = wanted.key.key_type is KeyType.RSA
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(wanted.issuer.certificate.subject)
        .public_key(wanted.key.public_key)
        .serial_number(wanted.serial)
        .not_valid_before(wanted.not_before)
        .not_valid_after(wanted.not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(key_encipherment=rsa), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(wanted.issuer.key_id), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(wanted.key.public_key), critical=False)
        .add_extension(names, critical=True)
    )
    return builder.sign(key, signature.hash_for(key))


def key_usage(*, key_encipherment: bool) -> x509.KeyUsage:
    """The key usage of a leaf: digital signature, and for RSA keys key encipherment (TLS 1.2 key transport)."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
