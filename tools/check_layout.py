"""Checks the layout of the repository: tests mirror meshca/, forbidden module names, file sizes.

Every module of a room has a test file of the same name at the mirrored place, or is named in
WITHOUT_OWN_TEST together with the test that covers it.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {"utils", "helpers", "common", "base", "manager", "util", "misc", "xds", "envoy", "http", "grpc"}
LONGEST = 300  # lines; CONTRIBUTING.md asks for 30 to 250 as a rule
# module -> the test that covers it
WITHOUT_OWN_TEST: dict[str, str] = {
    "meshca/kube/lease_lock.py": "tests/e2e/kube/test_lease.py",  # the library's lock, over a real Lease
    "meshca/kube/tls_secret.py": "tests/e2e/kube/test_tls_secret.py",
    "meshca/rotation/progress.py": "tests/rotation/test_driver.py",  # values
    "meshca/kube/kept.py": "tests/kube/test_keeper.py",  # values and a port
    "meshca/kube/telling.py": "tests/kube/test_keeper.py",  # what a keeper says, as its other tests see too
    "meshca/app/leaf_messages.py": "tests/app/test_control.py",  # plain values
    "meshca/app/own_leaves.py": "tests/app/test_serving_certificate.py",
    "meshca/rpc/kubernetes_report.py": "tests/rpc/test_kubernetes_messages.py",  # plain values
    "meshca/rpc/timestamps.py": "tests/rpc/test_admin_messages.py",
    "meshca/authn/cluster.py": "tests/kube/test_pods.py",  # ports and values
    "meshca/ledger/port.py": "tests/contract/test_ledger_store.py",
    "meshca/store/ledger.py": "tests/contract/test_ledger_store.py",
    "meshca/store/schema.py": "tests/store/test_migrate.py",  # compared with what the migrations build
    "meshca/store/postgres/ledger.py": "tests/contract/test_ledger_store.py",
    "meshca/store/sharing.py": "tests/store/postgres/test_engine.py",  # plain values
    "meshca/store/statements.py": "tests/contract/test_ledger_store.py",
    "meshca/admission/file.py": "tests/admission/test_parse.py",  # its models are reached through parse
    "meshca/rotation/commands.py": "tests/contract/test_root_commands.py",  # a port
    "meshca/rotation/report.py": "tests/rpc/test_root_report_messages.py",  # plain values
    "meshca/discovery/event.py": "tests/discovery/test_session.py",  # plain values
    "meshca/discovery/state.py": "tests/discovery/test_session.py",  # rows of the session's table
    "meshca/wire/open_calls.py": "tests/wire/test_interceptors_ending.py",  # the interceptors' inner part
    "meshca/wire/xds_services.py": "tests/wire/test_xds_streams.py",  # each service over real gRPC
    "meshca/svid/issuer.py": "tests/svid/test_lint.py",  # plain values
    "meshca/svid/wanted.py": "tests/svid/test_lint.py",
    "meshca/authority/keys.py": "tests/contract/test_keystore.py",  # a port
    "meshca/authority/upstream.py": "tests/contract/test_upstream.py",
    "meshca/authority/secret_source.py": "tests/contract/test_secret_source.py",
    "meshca/app/demo/changes.py": "tests/e2e/test_demo.py",
    "meshca/app/demo/mesh.py": "tests/e2e/test_demo.py",
    "meshca/app/demo/parts.py": "tests/e2e/test_demo.py",  # each starts a real process
    "meshca/app/demo/python_story.py": "tests/e2e/test_demo.py",
    "meshca/app/demo/story.py": "tests/e2e/test_demo.py",
    "meshca/app/openbao_mount.py": "tests/upstream/vault/test_upstream.py",  # each test has a mount
    "meshca/cli/demo.py": "tests/e2e/test_demo.py",
    "meshca/doctor/site.py": "tests/doctor/test_endpoint.py",  # values and a port
    "meshca/app/server.py": "tests/e2e/test_server_life.py",  # wires real processes together
    "meshca/app/worker.py": "tests/e2e/test_server_life.py",
    "meshca/app/doors.py": "tests/e2e/test_status_codes.py",
    "meshca/upstream/vault/custody.py": "tests/upstream/vault/test_upstream_roots.py",  # a port, and its lost list
    "meshca/upstream/vault/due.py": "tests/upstream/vault/test_upstream.py",
    "meshca/keystore/token_session.py": "tests/keystore/test_pkcs11.py",
    "meshca/agent/once.py": "tests/cli/test_cert.py",
    "meshca/config/authn.py": "tests/config/test_loader.py",
    "meshca/config/server.py": "tests/config/test_loader.py",
    "meshca/config/resource_names.py": "tests/sidecar/test_bootstrap.py",
}
# Files over LONGEST lines, each with its reason.
LONG: dict[str, str] = {}


def problems(root: Path, covered: Mapping[str, str], long: Mapping[str, str]) -> list[str]:
    """One line for each breach.

    Args:
        root: of the repository.
        covered: modules without a test file of their own, as WITHOUT_OWN_TEST.
        long: modules that may be longer, as LONG.
    """
    found: list[str] = []
    modules = sorted(p for p in (root / "meshca").rglob("*.py") if "_proto" not in p.parts)
    for path in modules:
        name = str(path.relative_to(root))
        if path.stem in FORBIDDEN:
            found.append(f"{name}: the name says nothing or shadows a library; name the thing it holds")
        lines = len(path.read_text().splitlines())
        if lines > LONGEST and name not in long:
            found.append(
                f"{name}: {lines} lines, at most {LONGEST}; split by meaning or say why in tools/check_layout.py"
            )
        if path.stem in {"__init__", "__main__"} or "migrations" in path.parts:
            continue
        mirrored = root / "tests" / path.relative_to(root / "meshca").with_name(f"test_{path.name}")
        cover = covered.get(name)
        if cover is not None and not (root / cover).exists():
            found.append(f"{name}: its covering test {cover} does not exist")
        if cover is None and not mirrored.exists():
            found.append(
                f"{name}: no {mirrored.relative_to(root)}; add it, or name the covering test in WITHOUT_OWN_TEST"
            )
    known = {str(p.relative_to(root)) for p in modules}
    found += [f"tools/check_layout.py: {name} is gone; drop its row" for name in sorted({*covered, *long} - known)]
    return found


def main() -> None:
    """Print every breach; exit 1 if there is one."""
    found = problems(ROOT, WITHOUT_OWN_TEST, LONG)
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
