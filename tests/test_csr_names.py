"""Names that a CSR asks for: read letter by letter, and compared with what is granted."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from meshca import csr
from meshca.errors import BadRequest
from tests.fakes.pki import WEB, ec_key, make_csr

URI = x509.UniformResourceIdentifier
MALFORMED = [
    "",
    "web",
    ":web",
    "1a:web",
    "//host/web",
    "http://%zz",
    "http://[bad",
    "http://[::1]/",
    "http://a..b/",
    "http://.a/",
    "http://a./",
    "http://a:b/",
    "http://:80/",
    "http://me@a/",
    "http://a%20b/",
    "http://a/%2",
    "http://a/#%zz",
    "http://a/{b}",
    "http://a/#b#c",
]
WELL_FORMED = [
    "spiffe://a.example-1_b/ns/x/sa/y",
    "https://a:8443/b%20c?d=e/f?g#h?i",
    "http://a",
    "http://a?b",
    "file:///a//b",
    "urn:uuid:1",
    "mailto:a@b.example",
    "a:",
]
KEY = ec_key()
OWN = csr.prove(make_csr(KEY, [URI(str(WEB))]))
NOTHING = csr.prove(make_csr(KEY))
REFUSED = [
    pytest.param(csr.prove(make_csr(KEY, [URI("spiffe://cluster.local/ns/shop/sa/db")])), id="another-identity"),
    pytest.param(csr.prove(make_csr(KEY, [URI(str(WEB)), URI(str(WEB))])), id="own-twice"),
    pytest.param(csr.prove(make_csr(KEY, [URI(str(WEB)), URI("spiffe://a/b")])), id="own-and-another"),
    pytest.param(csr.prove(make_csr(KEY, [URI(str(WEB).upper())])), id="upper-case"),
    pytest.param(csr.prove(make_csr(KEY, [URI(str(WEB)), x509.DNSName("web.example")])), id="own-and-dns"),
    pytest.param(csr.prove(make_csr(KEY, subject=[(NameOID.COMMON_NAME, str(WEB))])), id="own-as-common-name"),
]


@given(
    st.lists(st.from_regex(r"[a-z]{1,5}:(//[a-z]{1,9}/|[a-z])[!$&-;=?-Z_a-z~]{0,40}", fullmatch=True), max_size=4)
)
def test_uris_come_back(uris: list[str]) -> None:
    """The URIs that were asked for are the URIs that are found, letter by letter."""
    assert csr.prove(make_csr(KEY, [URI(uri) for uri in uris])).uris == tuple(uris)


@pytest.mark.parametrize("uri", MALFORMED)
def test_malformed_uri(uri: str) -> None:
    """What another reader of the CSR, such as an outside signer, takes for no URI is refused here."""
    with pytest.raises(BadRequest, match="a URI in the CSR") as refused:
        csr.prove(make_csr(KEY, [URI(str(WEB)), URI(uri)]))
    assert refused.value.reason == "csr_names"


@pytest.mark.parametrize("uri", WELL_FORMED)
def test_well_formed_uri(uri: str) -> None:
    """Any scheme, with a host or without one, is let in."""
    assert csr.prove(make_csr(KEY, [URI(uri)])).uris == (uri,)


@pytest.mark.parametrize("key", [OWN, NOTHING], ids=["own", "nothing"])
@pytest.mark.parametrize("strict", [True, False])
def test_allowed(key: csr.ProvenKey, *, strict: bool) -> None:
    """No name, or exactly the granted SPIFFE ID, may be asked for."""
    csr.check_names(key, WEB, strict=strict)


@pytest.mark.parametrize("key", REFUSED)
def test_strict(key: csr.ProvenKey) -> None:
    """In strict mode any other wish is refused."""
    with pytest.raises(BadRequest) as refused:
        csr.check_names(key, WEB, strict=True)
    assert refused.value.reason == "csr_names"


@pytest.mark.parametrize("key", REFUSED)
def test_compatible(key: csr.ProvenKey) -> None:
    """In Istio-compatible mode wishes are ignored."""
    csr.check_names(key, WEB, strict=False)
