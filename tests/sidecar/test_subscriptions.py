"""Where secrets and policies come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from meshca.sidecar.service import DirectFromCa
from meshca.sidecar.subscriptions import clusters, config_source, secret, tls_context
from tests.sidecar.services import service

CA = DirectFromCa(
    host="ca.mesh", port=15012, root_file=Path("/root.pem"), token_file=Path("/token"), server_name="istiod.svc"
)


def grpc(**changes: Any) -> dict[str, Any]:
    """The gRPC service of a config source."""
    found: dict[str, Any] = config_source(service(**changes))["api_config_source"]["grpc_services"][0]
    return found


def test_secrets_wait_for_ever() -> None:
    """A listener without an identity must not open, so there is no time limit on the first fetch."""
    assert secret("default", service())["sds_config"]["initial_fetch_timeout"] == "0s"


def test_streams_return_fast() -> None:
    """Reconnection to the agent backs off to at most a second."""
    assert grpc()["envoy_grpc"]["retry_policy"]["retry_back_off"] == {
        "base_interval": "0.1s",
        "max_interval": "1s",
    }


def test_incremental_form() -> None:
    """`delta` asks for incremental xDS, and nothing else changes."""
    plain, delta = config_source(service()), config_source(service(delta=True))
    assert (plain["api_config_source"].pop("api_type"), delta["api_config_source"].pop("api_type")) == (
        "GRPC",
        "DELTA_GRPC",
    )
    assert plain == delta


def test_agent_is_a_socket() -> None:
    """The agent's cluster is its Unix socket, in HTTP/2, with a short connect timeout."""
    (cluster,) = clusters(service())
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"] == {"pipe": {"path": "/run/agent.sock"}}
    assert (cluster["type"], cluster["connect_timeout"]) == ("STATIC", "1s")


def test_ca_needs_no_cluster() -> None:
    """Straight from the CA, Envoy's own gRPC client connects."""
    assert clusters(service(source=CA)) == []


def test_ca_is_verified_and_gets_the_token() -> None:
    """The CA's certificate is checked against the root file, and each stream carries the token file's content."""
    google = grpc(source=CA)["google_grpc"]
    plugin = google["call_credentials"][0]["from_plugin"]["typed_config"]
    assert google["channel_credentials"]["ssl_credentials"]["root_certs"] == {"filename": "/root.pem"}
    assert (plugin["secret_data"], plugin["header_key"], plugin["header_prefix"]) == (
        {"filename": "/token"},
        "authorization",
        "Bearer ",
    )


def test_ca_by_another_name() -> None:
    """A CA reached by an address that is not in its certificate is checked by the name given."""
    arguments = grpc(source=CA)["google_grpc"]["channel_args"]["args"]
    assert arguments["grpc.ssl_target_name_override"] == {"string_value": "istiod.svc"}


def test_ca_by_an_address_of_version_6() -> None:
    """In brackets, as the flag has it."""
    assert grpc(source=replace(CA, host="::1"))["google_grpc"]["target_uri"] == "[::1]:15012"


def test_ca_by_its_own_name() -> None:
    """Without another name, the host of the address is what must be in the certificate."""
    plain = DirectFromCa(host="ca.mesh", port=15012, root_file=Path("/r"), token_file=Path("/t"))
    google = grpc(source=plain)["google_grpc"]
    assert google["target_uri"] == "ca.mesh:15012"
    assert "grpc.ssl_target_name_override" not in google["channel_args"]["args"]


def test_keepalive_is_slower_than_grpc_servers_punish() -> None:
    """Pings more often than every five minutes end a gRPC connection, so both ways ping less often."""
    (cluster,) = clusters(service())
    (protocol,) = cluster["typed_extension_protocol_options"].values()
    keepalive = protocol["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
    arguments = grpc(source=CA)["google_grpc"]["channel_args"]["args"]
    assert (keepalive["interval"], arguments["grpc.keepalive_time_ms"]) == ("310s", {"int_value": 310_000})


def test_tls_is_modern_and_names_are_uris() -> None:
    """TLS 1.2 to 1.3, own certificate and roots by SDS, and peers are known by their URI SAN."""
    context = tls_context(service(), [{"exact": "spiffe://x/y"}])
    validation = context["combined_validation_context"]
    names = validation["default_validation_context"]["match_typed_subject_alt_names"]
    assert context["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_2",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    assert [item["name"] for item in context["tls_certificate_sds_secret_configs"]] == ["default"]
    assert validation["validation_context_sds_secret_config"]["name"] == "ROOTCA"
    assert names == [{"san_type": "URI", "matcher": {"exact": "spiffe://x/y"}}]
