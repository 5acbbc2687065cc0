"""Calls the CA knowing nothing of its messages: server reflection tells them, as it tells grpcurl.

Needs grpcio, grpcio-reflection and protobuf, and no code of meshca:

    python docs/examples/call_by_reflection.py dev/endpoint dev/root.pem web.token web.csr
"""

import sys
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "istio.v1.auth.IstioCertificateService"


def main(endpoint: str, root: str, token: str, csr: str) -> None:
    """Ask what the server offers, then for a certificate; each argument is a file."""
    credentials = grpc.ssl_channel_credentials(Path(root).read_bytes())
    with grpc.secure_channel(Path(endpoint).read_text().strip(), credentials) as channel:
        offered = ProtoReflectionDescriptorDatabase(channel)
        for service in sorted(offered.get_services()):
            print(service)
        method = DescriptorPool(offered).FindServiceByName(SERVICE).FindMethodByName("CreateCertificate")
        call = channel.unary_unary(
            f"/{SERVICE}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        request = GetMessageClass(method.input_type)(csr=Path(csr).read_text(), validity_duration=600)
        answer = call(
            request, metadata=[("authorization", f"Bearer {Path(token).read_text().strip()}")], timeout=10
        )
        print(json_format.MessageToJson(answer, preserving_proto_field_name=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
