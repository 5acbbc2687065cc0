"""The parts of a CA, read by the names of each of Istio's layouts."""

from __future__ import annotations

import pytest

from meshca.upstream.ca_set import CACERTS, GENERATED, TLS, CaSet, Layout, read_ca_set
from tests.fakes.cacerts import Files, cacerts, tls
from tests.fakes.pki import make_ca

ROOT = make_ca("root")
OLD_ROOT = make_ca("old root")
UPPER = make_ca("upper", ROOT)
SIGNER = make_ca("signer", UPPER)


def read(layout: Layout, files: Files) -> tuple[CaSet, list[str]]:
    """What is read, and the problems."""
    problems: list[str] = []
    return read_ca_set(layout, {name: text.encode() for name, text in files.items()}, problems), problems


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        pytest.param(CACERTS, cacerts(SIGNER, UPPER, roots=(ROOT, OLD_ROOT)), id="cacerts"),
        pytest.param(TLS, tls(SIGNER, UPPER, ROOT, roots=(ROOT, OLD_ROOT)), id="tls"),
    ],
)
def test_parts(layout: Layout, files: Files) -> None:
    """The signing certificate is the first, each other is there once, and all roots are in their order."""
    found, problems = read(layout, files)
    assert problems == []
    assert found.certificates == (SIGNER.certificate, UPPER.certificate, ROOT.certificate)
    assert found.roots == (ROOT.certificate, OLD_ROOT.certificate)
    assert found.material().certificate == SIGNER.certificate


def test_generated_by_istio() -> None:
    """What Istio generated is its own root; a `root-cert.pem` beside it is out of date after a rotation."""
    found, problems = read(GENERATED, cacerts(ROOT, roots=(OLD_ROOT,)))
    assert (problems, found.certificates, found.roots) == ([], (ROOT.certificate,), (ROOT.certificate,))
    assert GENERATED.names == ("ca-cert.pem", "ca-key.pem")


@pytest.mark.parametrize("chain", ["", " \n"], ids=["empty", "blank"])
def test_no_chain(chain: str) -> None:
    """The chain may hold nothing."""
    found, problems = read(CACERTS, {**cacerts(ROOT, roots=(ROOT,)), "cert-chain.pem": chain})
    assert (problems, found.certificates) == ([], (ROOT.certificate,))


def test_every_problem() -> None:
    """Every part that cannot be read is named once, and what can be read is there all the same."""
    files = {**dict.fromkeys(CACERTS.names, "damaged"), "root-cert.pem": ROOT.pem}
    found, problems = read(CACERTS, files)
    assert [problem.partition(":")[0] for problem in problems] == ["ca-cert.pem", "cert-chain.pem", "ca-key.pem"]
    assert (found.certificates, found.roots, found.key) == ((), (ROOT.certificate,), None)


def test_missing_parts() -> None:
    """What is not there is left out; that it is missing is for the caller to say."""
    found, problems = read(CACERTS, {})
    assert (problems, found.certificates, found.roots, found.key) == ([], (), (), None)


def test_key_does_not_print() -> None:
    """The key is not in the repr."""
    assert "key=" not in repr(read(CACERTS, cacerts(SIGNER, UPPER, roots=(ROOT,)))[0])
