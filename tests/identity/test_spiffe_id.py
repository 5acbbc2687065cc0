"""Tests of meshca.identity.spiffe_id: rules ID1-ID11 of SPIFFE-ID.md, each with accept and reject rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import BadRequest
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import MAX_ID_BYTES, MAX_TRUST_DOMAIN_BYTES, SpiffeId, TrustDomain

TD = TrustDomain("cluster.local")
SEGMENTS = st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True).filter(lambda s: s not in {".", ".."})
TRUST_DOMAINS = st.from_regex(r"[a-z0-9._-]{1,40}", fullmatch=True).map(TrustDomain)
IDS = st.builds(
    SpiffeId, TRUST_DOMAINS, st.lists(SEGMENTS, min_size=1, max_size=6).map(lambda s: "/" + "/".join(s))
)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
ACCOUNTS = st.builds(ServiceAccount, namespace=LABELS, name=LABELS)

ACCEPTED = {
    "ID1-scheme": "spiffe://a/b",
    "ID4-characters": "spiffe://my_td-1.x/b",
    "ID6-ipv4-is-a-name": "spiffe://10.0.0.1/x",
    "ID8-two-segments": "spiffe://a/a/b",
    "ID8-three-dots": "spiffe://a/a/...",
    "ID8-leading-dot": "spiffe://a/a/.b",
    "ID9-every-character": "spiffe://a/aZ09.-_",
}
REJECTED = {
    "ID1-http": "http://a/b",
    "ID1-one-slash": "spiffe:/a",
    "ID1-upper-case-scheme": "SPIFFE://a/b",
    "ID1-empty": "",
    "ID1-leading-space": " spiffe://a/b",
    "ID2-no-trust-domain": "spiffe:///b",
    "ID3-user": "spiffe://u@a/b",
    "ID3-port": "spiffe://a:80/b",
    "ID4-upper-case": "spiffe://A/b",
    "ID4-space": "spiffe://a b/c",
    "ID4-utf8": "spiffe://ä/b",
    "ID5-percent-in-trust-domain": "spiffe://%61/b",
    "ID5-percent-in-path": "spiffe://a/%61",
    "ID6-ipv6": "spiffe://[::1]/x",
    "ID7-query": "spiffe://a/b?a",
    "ID7-query-after-trust-domain": "spiffe://a?a",
    "ID7-fragment": "spiffe://a/b#b",
    "ID8-root": "spiffe://a/",
    "ID8-trailing-slash": "spiffe://a/b/",
    "ID8-empty-segment": "spiffe://a/b//c",
    "ID8-dot": "spiffe://a/b/./c",
    "ID8-dots": "spiffe://a/..",
    "ID9-space": "spiffe://a/a b",
    "ID9-colon": "spiffe://a/a:b",
    "ID9-at": "spiffe://a/a@b",
    "ID9-newline-at-the-end": "spiffe://a/b\n",
    "ID9-newline-in-the-middle": "spiffe://a/b\nc",
    "ID9-nul": "spiffe://a/b\0",
    "ID9-utf8": "spiffe://a/é",
    "ID9-digit-of-another-script": "spiffe://a/٣",
    "ID11-no-path": "spiffe://a",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_a_legal_id_is_read_as_it_is(text: str) -> None:
    """A legal ID parses, and prints as it was written."""
    assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize("text", REJECTED.values(), ids=REJECTED)
def test_an_illegal_id_is_refused(text: str) -> None:
    """An ID that breaks a rule is refused, never normalised."""
    with pytest.raises(BadRequest) as caught:
        SpiffeId.parse(text)
    assert caught.value.reason == "spiffe_id"


def test_the_path_is_case_sensitive() -> None:
    """ID9: /Ns/X and /ns/x are two identities."""
    assert SpiffeId.parse("spiffe://a/Ns/X") != SpiffeId.parse("spiffe://a/ns/x")


def test_an_id_of_2048_bytes_is_legal() -> None:
    """ID10: the longest ID that everyone must support."""
    text = "spiffe://a/".ljust(MAX_ID_BYTES, "x")
    assert str(SpiffeId.parse(text)) == text


def test_an_id_of_2049_bytes_is_refused() -> None:
    """ID10: nothing longer is issued or accepted."""
    with pytest.raises(BadRequest, match="at most 2048 bytes"):
        SpiffeId.parse("spiffe://a/".ljust(MAX_ID_BYTES + 1, "x"))


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("a", True),
        ("my_td-1.x", True),
        ("10.0.0.1", True),
        ("a" * MAX_TRUST_DOMAIN_BYTES, True),
        ("a" * (MAX_TRUST_DOMAIN_BYTES + 1), False),
        ("", False),
        ("A", False),
        ("a:80", False),
        ("u@a", False),
        ("a/b", False),
        ("a\n", False),
        ("[::1]", False),
        ("%61", False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_trust_domain_names(name: str, *, accepted: bool) -> None:
    """ID2-ID6 and ID10 hold for a trust domain on its own."""
    if accepted:
        assert str(TrustDomain(name)) == name
    else:
        with pytest.raises(BadRequest):
            TrustDomain(name)


def test_a_bare_id_names_the_trust_domain() -> None:
    """ID11: without a path the URI stands for the signing authority."""
    assert TrustDomain.parse("spiffe://cluster.local") == TD
    assert TD.id == "spiffe://cluster.local"


@pytest.mark.parametrize(
    "text", ["spiffe://a/", "spiffe://a/b", "http://a", "a", "spiffe://"], ids=lambda text: text or "empty"
)
def test_a_trust_domain_with_a_path_is_refused(text: str) -> None:
    """ID11: an ID with a path, or with another scheme, is not a trust domain."""
    with pytest.raises(BadRequest):
        TrustDomain.parse(text)


def test_the_identity_of_a_service_account() -> None:
    """The one form that is issued."""
    account = ServiceAccount(namespace="shop", name="web")
    assert str(SpiffeId.of(TD, account)) == "spiffe://cluster.local/ns/shop/sa/web"


@pytest.mark.parametrize(
    "path",
    ["/ns/shop", "/ns/shop/sa", "/ns/shop/sa/web/x", "/NS/shop/sa/web", "/ns/shop/SA/web", "/x/shop/sa/web"],
)
def test_an_id_of_another_shape_is_no_service_account(path: str) -> None:
    """Only /ns/<namespace>/sa/<name> stands for a service account."""
    with pytest.raises(BadRequest, match="/ns/<namespace>/sa/<service account>"):
        SpiffeId(TD, path).service_account()


@pytest.mark.parametrize("path", ["/ns/Shop/sa/web", "/ns/shop/sa/we_b", "/ns/shop/sa/-web"])
def test_an_id_with_names_outside_kubernetes_is_no_service_account(path: str) -> None:
    """A SPIFFE segment may hold what a Kubernetes name may not."""
    with pytest.raises(BadRequest) as caught:
        SpiffeId(TD, path).service_account()
    assert caught.value.reason == "service_account"


@given(IDS)
def test_parsing_undoes_printing(value: SpiffeId) -> None:
    """parse(str(x)) == x."""
    assert SpiffeId.parse(str(value)) == value


@given(TRUST_DOMAINS)
def test_parsing_undoes_printing_of_trust_domains(value: TrustDomain) -> None:
    """parse(x.id) == x."""
    assert TrustDomain.parse(value.id) == value


@given(TRUST_DOMAINS, ACCOUNTS)
def test_a_service_account_survives_its_id(trust_domain: TrustDomain, account: ServiceAccount) -> None:
    """The service account read from an ID is the one it was made of."""
    assert SpiffeId.parse(str(SpiffeId.of(trust_domain, account))).service_account() == account


@given(st.text() | st.text().map("spiffe://".__add__) | IDS.flatmap(lambda i: st.text().map(str(i).__add__)))
def test_any_text_is_read_as_it_is_or_refused(text: str) -> None:
    """Either a text is the one spelling of an ID, or BadRequest, and nothing else."""
    try:
        value = SpiffeId.parse(text)
    except BadRequest:
        return
    assert str(value) == text
