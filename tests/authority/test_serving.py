"""The CA's own TLS certificate: its names, its purpose, and that it is no SVID."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.serving import draft_serving, read_names
from meshca.errors import ConfigError, InvariantBroken
from meshca.svid import blueprint
from meshca.svid.draft import Issued, Stamp
from tests.fakes.pki import DAY, NOW, ec_key, good_slot

SLOT = good_slot()
STAMP = Stamp(serial=1 << 140, now=NOW, backdate=timedelta(minutes=2))
NAMES = ("localhost", "127.0.0.1", "::1", "istiod.istio-system.svc")


def issue(lifetime: timedelta = DAY) -> Issued:
    """A certificate for a fresh key."""
    drafted = draft_serving(ec_key().public_key(), SLOT.issuer, read_names(NAMES), lifetime, STAMP)
    return drafted.sign(SLOT.sign)


def leaf() -> x509.Certificate:
    """Its leaf."""
    return x509.load_pem_x509_certificate(issue().chain[0].encode())


@pytest.mark.parametrize("name", NAMES)
def test_verified_by_each_name(name: str) -> None:
    """A TLS client that knows the root accepts the server by each of its names."""
    subject: verification.Subject = x509.DNSName(name)
    if not name[-1].isalpha():
        subject = x509.IPAddress(ipaddress.ip_address(name))
    store = verification.Store([SLOT.path[-1]])
    verifier = verification.PolicyBuilder().store(store).time(NOW).build_server_verifier(subject)
    assert len(verifier.verify(leaf(), list(SLOT.path[:-1]))) == 3


def test_server_authentication_only() -> None:
    """It cannot be used as a client certificate."""
    purposes = leaf().extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_no_spiffe_id() -> None:
    """It holds no URI, so that nobody takes it for an SVID."""
    san = leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == []


def test_ends_with_the_slot() -> None:
    """It ends no later than its issuers."""
    assert issue(365 * DAY).not_after == SLOT.issuer.not_after


def test_linted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is not what was wanted is not drafted."""
    build = blueprint.leaf
    wrong = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    monkeypatch.setattr(blueprint, "leaf", lambda wanted, names, _, key: build(wanted, names, wrong, key))
    with pytest.raises(InvariantBroken, match="X7"):
        issue()


class TestNames:
    """`read_names`: DNS names and IP addresses."""

    def test_each_once_in_order(self) -> None:
        """Names keep their order and lose repetitions."""
        expected = [
            x509.DNSName("b.example"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.DNSName("*.a.example"),
        ]
        assert list(read_names(["b.example", "192.0.2.1", "*.a.example", "b.example"])) == expected

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="empty"),
            pytest.param("A.example", id="upper-case"),
            pytest.param("a.example.", id="final-dot"),
            pytest.param("a..example", id="empty-label"),
            pytest.param("-a.example", id="leading-hyphen"),
            pytest.param("a.*.example", id="star-inside"),
            pytest.param("a.example\n", id="newline"),
            pytest.param("spiffe://a/b", id="uri"),
            pytest.param("a:15012", id="port"),
            pytest.param("a" * 64, id="long-label"),
            pytest.param(".".join(["a" * 60] * 5), id="long-name"),
            pytest.param("10.0.0.0/8", id="network"),
        ],
    )
    def test_refused(self, text: str) -> None:
        """What is neither a DNS name nor an address is refused, and shown so that it can be found."""
        with pytest.raises(ConfigError) as refused:
            read_names(["localhost", text])
        assert refused.value.problems == (f"{text!r} is neither an IP address nor a DNS name in lower case",)

    def test_none(self) -> None:
        """A server without a name is refused."""
        with pytest.raises(ConfigError, match="at least one name"):
            read_names([])

    @given(st.lists(st.text(max_size=40), min_size=1, max_size=3))
    def test_any_text(self, texts: list[str]) -> None:
        """Whatever the text, the answer is names or a ConfigError."""
        try:
            names = read_names(texts)
        except ConfigError:
            return
        assert len(list(names)) == len(set(texts))
