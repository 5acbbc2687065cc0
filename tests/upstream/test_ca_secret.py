"""Secrets as Istio lays them out: which one counts, how it is read, what is refused, how one is made."""

from __future__ import annotations

import pytest

from meshca.authority.secret_source import StoredSecret
from meshca.upstream.ca_certificates import make_root
from meshca.upstream.ca_secret import LARGEST, choose, emptied, is_made, layout_of, of_root, read
from meshca.upstream.ca_set import CACERTS, GENERATED, TLS, Layout
from tests.fakes.cacerts import Files, cacerts, tls
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, ec_key, make_ca

ROOT = make_ca("root")
SIGNER = make_ca("signer", ROOT)
PLUGGED = cacerts(SIGNER, roots=(ROOT,))
OWN = {**cacerts(ROOT, roots=(ROOT,)), "cert-chain.pem": "", "key.pem": ""}
GENERATED_MARK = {"istio-generated": ""}
ISTIO = "istio.io/ca-root"


def stored(name: str, files: Files, kind: str = "Opaque") -> StoredSecret:
    """A Secret with these contents."""
    return StoredSecret(name=name, kind=kind, contents={key: text.encode() for key, text in files.items()})


def problems_of(secret: StoredSecret) -> list[str]:
    """What keeps it from being read."""
    problems: list[str] = []
    read(secret, problems)
    return problems


@pytest.mark.parametrize(
    ("secrets", "expected"),
    [
        pytest.param([], None, id="none"),
        pytest.param(
            [stored("cacerts", PLUGGED), stored("istio-ca-secret", OWN)], "cacerts", id="plugged-in-first"
        ),
        pytest.param([stored("istio-ca-secret", OWN)], "istio-ca-secret", id="only-istio's"),
        pytest.param(
            [stored("cacerts", OWN | GENERATED_MARK), stored("istio-ca-secret", OWN)],
            "istio-ca-secret",
            id="generated-cacerts-last",
        ),
        pytest.param([stored("cacerts", OWN | GENERATED_MARK)], "cacerts", id="generated-cacerts-alone"),
        pytest.param(
            [stored("cacerts", {}), stored("istio-ca-secret", OWN)], "istio-ca-secret", id="empty-is-none"
        ),
        pytest.param([stored("cacerts", {}), stored("istio-ca-secret", {})], None, id="all-empty"),
    ],
)
def test_choice(secrets: list[StoredSecret], expected: str | None) -> None:
    """Which Secret counts, in Istio's order."""
    found = choose(secrets)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("secret", "layout"),
    [
        pytest.param(stored("cacerts", PLUGGED), CACERTS, id="cacerts"),
        pytest.param(stored("cacerts", PLUGGED | tls(SIGNER, roots=(ROOT,))), TLS, id="tls-wins"),
        pytest.param(stored("a", tls(SIGNER, roots=(ROOT,)), "kubernetes.io/tls"), TLS, id="tls"),
        pytest.param(stored("istio-ca-secret", OWN, ISTIO), GENERATED, id="istio's"),
        pytest.param(stored("istio-ca-secret", OWN), GENERATED, id="istio's-by-name"),
        pytest.param(stored("a", OWN, ISTIO), GENERATED, id="istio's-by-type"),
        pytest.param(stored("cacerts", OWN | GENERATED_MARK), GENERATED, id="istio's-by-mark"),
    ],
)
def test_layout(secret: StoredSecret, layout: Layout) -> None:
    """How a Secret is read, and that a sound one has no problem."""
    assert layout_of(secret) == layout
    assert problems_of(secret) == []


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        *[
            pytest.param(
                stored("cacerts", {key: text for key, text in PLUGGED.items() if key != name}),
                f"{name}: is missing; all of ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem are needed",
                id=f"without-{name}",
            )
            for name in PLUGGED
        ],
        *[
            pytest.param(
                stored("istio-ca-secret", {key: text for key, text in OWN.items() if key != name}, ISTIO),
                f"{name}: is missing; all of ca-cert.pem, ca-key.pem are needed",
                id=f"istio's-without-{name}",
            )
            for name in ("ca-cert.pem", "ca-key.pem")
        ],
        pytest.param(
            stored("cacerts", {"tls.crt": SIGNER.pem, "tls.key": SIGNER.key_pem}),
            "ca.crt: is missing; all of tls.crt, tls.key, ca.crt are needed",
            id="tls-without-ca.crt",
        ),
        pytest.param(
            stored("cacerts", PLUGGED | {"ca-key.pem": "damaged"}),
            "ca-key.pem: expected one private key in PEM (PKCS#8, PKCS#1 or SEC1)",
            id="damaged-key",
        ),
        pytest.param(
            stored("cacerts", PLUGGED, "kubernetes.io/basic-auth"),
            "its type is 'kubernetes.io/basic-auth', expected Opaque; make it anew with that type",
            id="type",
        ),
        pytest.param(
            stored("cacerts", tls(SIGNER, roots=(ROOT,)), "helm.sh/release.v1"),
            "its type is 'helm.sh/release.v1', expected Opaque or kubernetes.io/tls; make it anew with that type",
            id="type-of-tls",
        ),
        pytest.param(
            stored("cacerts", {"cert-chain.pem": "x" * (LARGEST + 1)}),
            f"it holds {LARGEST + 1} bytes, at most {LARGEST} are read",
            id="huge",
        ),
    ],
)
def test_refused(secret: StoredSecret, problem: str) -> None:
    """Each problem names the key, or the Secret, and what to do."""
    assert problem in problems_of(secret)


def test_all_at_once() -> None:
    """Everything that is missing and everything that is damaged is told together."""
    found = problems_of(stored("cacerts", {"ca-cert.pem": "damaged", "ca-key.pem": "damaged"}))
    assert [problem.partition(":")[0] for problem in found] == [
        "cert-chain.pem",
        "root-cert.pem",
        "ca-cert.pem",
        "ca-key.pem",
    ]


def test_extra_keys_are_not_read() -> None:
    """What else is in the Secret is nobody's business."""
    assert problems_of(stored("cacerts", PLUGGED | {"ca-crl.pem": "not read", "notes": "x"})) == []


class TestOfRoot:
    """What a first start writes."""

    KEY = ec_key()
    MADE = make_root(KEY, TRUST_DOMAIN, NOW, NOW + DAY, for_istio=True)

    def test_as_istio_makes_it(self) -> None:
        """Istio's type and keys; the chain and the leaf's key are there and empty."""
        made = of_root("istio-ca-secret", self.MADE, self.KEY)
        assert (made.name, made.kind, made.version) == ("istio-ca-secret", ISTIO, "")
        assert set(made.contents) == {"ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem", "key.pem"}
        assert made.contents["ca-cert.pem"] == made.contents["root-cert.pem"] != b""
        assert (made.contents["cert-chain.pem"], made.contents["key.pem"]) == (b"", b"")

    def test_in_cacerts(self) -> None:
        """In `cacerts` it has Istio's mark, so that Istio knows it as its own."""
        assert of_root("cacerts", self.MADE, self.KEY).contents["istio-generated"] == b""

    def test_into_an_empty_one(self) -> None:
        """One that exists keeps its type, and is overwritten only as it was read."""
        into = StoredSecret(name="istio-ca-secret", kind="Opaque", contents={}, version="7")
        made = of_root("istio-ca-secret", self.MADE, self.KEY, into=into)
        assert (made.kind, made.version) == ("Opaque", "7")

    @pytest.mark.parametrize("name", ["istio-ca-secret", "cacerts", "other"])
    def test_read_back(self, name: str) -> None:
        """What is written is read as it was meant."""
        problems: list[str] = []
        found = read(of_root(name, self.MADE, self.KEY), problems)
        assert (problems, found.certificates, found.roots) == ([], (self.MADE,), (self.MADE,))
        assert found.key is not None
        assert found.key.private_numbers() == self.KEY.private_numbers()


@pytest.mark.parametrize(
    ("secret", "made"),
    [
        pytest.param(stored("istio-ca-secret", OWN, ISTIO), True, id="istio's"),
        pytest.param(stored("cacerts", OWN | GENERATED_MARK), True, id="istio's-in-cacerts"),
        pytest.param(stored("mesh-ca", OWN), True, id="ours-in-a-secret-of-the-operator"),
        pytest.param(stored("cacerts", PLUGGED), False, id="plugged-in"),
        pytest.param(stored("cacerts", tls(ROOT, roots=(ROOT,))), False, id="plugged-in-root"),
    ],
)
def test_made(secret: StoredSecret, made: bool) -> None:  # noqa: FBT001 - a row's part
    """What Istio and we make is told from what is plugged in, whoever made the Secret."""
    assert is_made(secret) == made


def test_emptied() -> None:
    """An emptied Secret counts as none, keeps its type, and is written over what was read."""
    secret = StoredSecret(name="a", kind=ISTIO, contents={"ca-cert.pem": b"x"}, version="7")
    assert emptied(secret) == StoredSecret(name="a", kind=ISTIO, contents={}, version="7")
    assert choose([emptied(secret)]) is None
