"""Istio's certificate service: reads the request's fields, calls the pipeline, fills the answer.

Decides nothing. The wire contract is Istio's security/v1alpha1/ca.proto: leaf first, one certificate in each
element, all roots together in the last.
"""

from __future__ import annotations

from typing import Final

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest, IstioCertificateResponse
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceServicer
from meshca.errors import BadRequest
from meshca.issuance import Issuing, Wish
from meshca.wire.credentials import read_credential
from meshca.wire.interceptors import current_call
from meshca.wire.open_calls import Context

IMPERSONATED_IDENTITY: Final = "ImpersonatedIdentity"
CERT_SIGNER: Final = "CertSigner"


class IstioCa(IstioCertificateServiceServicer):
    """`istio.v1.auth.IstioCertificateService`."""

    def __init__(self, issuing: Issuing) -> None:
        self._issuing = issuing

    async def CreateCertificate(  # noqa: N802 - Istio's name
        self, request: IstioCertificateRequest, context: Context
    ) -> IstioCertificateResponse:
        """Sign the caller's key for the identity that it proves."""
        call = current_call()
        call.audited = True
        issued = await self._issuing.issue(read_credential(context), lambda: read_wish(request), call.id)
        return IstioCertificateResponse(cert_chain=[*issued.chain, issued.roots])


def read_wish(request: IstioCertificateRequest) -> Wish:
    """The request's fields as a wish.

    Raises:
        BadRequest: reason `metadata`, when a field of the metadata that is read has another type than text.
    """
    return Wish(
        csr=request.csr,
        lifetime_seconds=request.validity_duration,
        impersonated_identity=_text(request, IMPERSONATED_IDENTITY),
        cert_signer=_text(request, CERT_SIGNER),
    )


def _text(request: IstioCertificateRequest, name: str) -> str:
    if name not in request.metadata.fields:
        return ""
    value = request.metadata.fields[name]
    if value.WhichOneof("kind") != "string_value":
        raise BadRequest("metadata", f"the metadata field {name} must be text")
    return value.string_value
