"""The CA can be called without its .proto files: by server reflection, as grpcurl does it and the README shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from tests.real.dev_server import Key, Server, reason, running_server

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "call_by_reflection.py"
CA = "istio.v1.auth.IstioCertificateService"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("dev"), settings={"MESHCA__WORKERS": "1"}) as server:
        yield server


@pytest.fixture(name="offered")
def _offered(server: Server) -> Iterator[ProtoReflectionDescriptorDatabase]:
    with grpc.secure_channel(server.endpoint(), grpc.ssl_channel_credentials(server.root)) as channel:
        yield ProtoReflectionDescriptorDatabase(channel)


def test_the_services_are_listed_to_everybody(offered: ProtoReflectionDescriptorDatabase) -> None:
    """`grpcurl … list`."""
    services = set(offered.get_services())
    assert services >= {CA, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_the_messages_have_istios_fields(offered: ProtoReflectionDescriptorDatabase) -> None:
    """`grpcurl … describe`: names and numbers of istio/api's ca.proto."""
    method = DescriptorPool(offered).FindServiceByName(CA).FindMethodByName("CreateCertificate")
    fields = {field.name: field.number for field in method.input_type.fields}
    assert fields == {"csr": 1, "validity_duration": 3, "metadata": 4}
    assert {field.name: field.number for field in method.output_type.fields} == {"cert_chain": 1}


def test_health_is_asked_without_a_token(server: Server, offered: ProtoReflectionDescriptorDatabase) -> None:
    """`grpcurl … grpc.health.v1.Health/Check`, its messages by reflection too."""
    method = DescriptorPool(offered).FindServiceByName("grpc.health.v1.Health").FindMethodByName("Check")
    with grpc.secure_channel(server.endpoint(), grpc.ssl_channel_credentials(server.root)) as channel:
        call: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = call(GetMessageClass(method.input_type)(), timeout=10)
    assert json_format.MessageToDict(answer) == {"status": "SERVING"}


def example(server: Server, folder: Path, token: str) -> subprocess.CompletedProcess[str]:
    """Run the README's example."""
    (folder / "token").write_text(token)
    (folder / "csr").write_text(Key().csr)
    files = [server.folder / "endpoint", server.folder / "root.pem", folder / "token", folder / "csr"]
    command = [sys.executable, str(EXAMPLE), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_readmes_example_gets_a_certificate(server: Server, tmp_path: Path) -> None:
    """Knowing nothing of the messages, it has a chain whose leaf names the caller."""
    done = example(server, tmp_path, server.token("shop", "web"))
    assert done.returncode == 0, done.stderr
    listed, _, answer = done.stdout.partition("{")
    assert CA in listed.splitlines()
    leaf = x509.load_pem_x509_certificate(json.loads("{" + answer)["cert_chain"][0].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/ns/shop/sa/web"]


def test_the_readmes_example_shows_a_refusal(server: Server, tmp_path: Path) -> None:
    """A token for another audience is Unauthenticated."""
    done = example(server, tmp_path, server.token("shop", "web", audience="someone-else"))
    assert done.returncode != 0
    assert "UNAUTHENTICATED" in done.stderr


def test_questions_have_an_end(server: Server) -> None:
    """One stream cannot have a worker describe things for ever."""
    with grpc.secure_channel(server.endpoint(), grpc.ssl_channel_credentials(server.root)) as channel:
        stub = ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(ServerReflectionRequest(list_services="") for _ in range(1000))
        heard: list[object] = []
        with pytest.raises(grpc.RpcError) as caught:
            heard.extend(answers)
    assert len(heard) == 100
    error: Any = caught.value  # grpc's own type does not say what it has
    assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "reflection")
