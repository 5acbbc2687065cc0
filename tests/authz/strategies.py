"""Policies, workloads and requests for hypothesis: small alphabets, so that they often meet."""

from __future__ import annotations

from hypothesis import strategies as st

from meshca.authz import path
from meshca.authz.model import Action, Operation, Policy, PolicySet, Request, Rule, Source, Workload
from meshca.authz.pattern import Match, Pattern
from meshca.identity.spiffe_id import SpiffeId, TrustDomain

DOMAINS = ("cluster.local", "other.td", "clusterxlocal")
NAMESPACES = ("shop", "shops", "other", "istio-system", "ns", "sa")
ACCOUNTS = ("web", "sa", "w.eb")
METHODS = ("GET", "POST", "DELETE", "PATCH")
TEXTS = ("/a", "/admin", "/v1/x:delete", "/a.json", "/é", "/a b", "/(x)+", "/v1", "/admin/", "/0a", "/ad", "/a0")
LABELS = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("a", "b")), max_size=2)


def patterns(values: tuple[str, ...]) -> st.SearchStrategy[Pattern]:
    """Exact values, beginnings and ends of them, and presence."""
    whole = st.sampled_from(values)
    cut = st.tuples(whole, st.integers(1, 30))
    return st.one_of(
        whole.map(lambda value: Pattern(Match.EXACT, value)),
        cut.map(lambda pair: Pattern(Match.PREFIX, pair[0][: pair[1]])),
        cut.map(lambda pair: Pattern(Match.SUFFIX, pair[0][-pair[1] :])),
        st.just(Pattern(Match.PRESENT, "")),
    )


IDS = st.one_of(
    st.builds(
        lambda domain, namespace, account: SpiffeId.parse(f"spiffe://{domain}/ns/{namespace}/sa/{account}"),
        st.sampled_from(DOMAINS),
        st.sampled_from(NAMESPACES),
        st.sampled_from(ACCOUNTS),
    ),
    st.sampled_from(
        (
            SpiffeId.parse("spiffe://cluster.local/other/form"),
            SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web/more"),
            SpiffeId.parse("spiffe://cluster.local/x/ns/shop/sa/web"),
        )
    ),
)
PRINCIPALS = patterns(tuple(f"{d}/ns/{n}/sa/{a}" for d in DOMAINS for n in NAMESPACES for a in ACCOUNTS))
PATHS = patterns(TEXTS).filter(lambda pattern: not path.fault_in_value(str(pattern)))
SOURCES = st.builds(
    Source,
    principals=st.lists(PRINCIPALS, max_size=2).map(tuple),
    namespaces=st.lists(patterns(NAMESPACES), max_size=2).map(tuple),
).filter(lambda source: bool(source.principals or source.namespaces))
OPERATIONS = st.builds(
    Operation,
    methods=st.lists(patterns(METHODS), max_size=2).map(tuple),
    paths=st.lists(PATHS, max_size=2).map(tuple),
).filter(lambda operation: bool(operation.methods or operation.paths))
RULES = st.builds(
    Rule,
    sources=st.lists(SOURCES, max_size=2).map(tuple),
    operations=st.lists(OPERATIONS, max_size=2).map(tuple),
)
POLICIES = st.builds(
    Policy,
    namespace=st.sampled_from(("shop", "other", "istio-system")),
    name=st.sampled_from(("a", "b", "c")),
    action=st.sampled_from(Action),
    selector=LABELS,
    rules=st.lists(RULES, max_size=3).map(tuple),
).filter(lambda policy: bool(policy.rules) or policy.action is Action.ALLOW)
POLICY_SETS = st.lists(POLICIES, max_size=4, unique_by=lambda policy: (policy.namespace, policy.name)).map(
    lambda found: PolicySet(policies=tuple(found))
)
WORKLOADS = st.builds(
    Workload,
    namespace=st.sampled_from(("shop", "other")),
    trust_domain=st.just(TrustDomain("cluster.local")),
    labels=LABELS,
)


@st.composite
def spelled_paths(draw: st.DrawFn) -> str:
    """A path as Envoy shows it to its filters: reserved characters plain or escaped, broken escapes too."""
    text = "".join(
        draw(st.lists(st.sampled_from((*TEXTS, "0", "d", "%", "%a", "%0", "%zz")), min_size=1, max_size=3))
    )
    spelled = "".join(draw(_spelling(character)) for character in text)
    return f"/{spelled.lstrip('/')}" + draw(st.sampled_from(("", "", "?", "?q=/admin", "?a?.json")))


def _spelling(character: str) -> st.SearchStrategy[str]:
    if path.plain(Pattern(Match.EXACT, character)) or character == "%":
        return st.just(character)
    lower = "".join(f"%{byte:02x}" for byte in character.encode())
    upper = "".join(f"%{byte:02X}" for byte in character.encode())
    return st.sampled_from((lower, upper, *([character] if character.isascii() and character != " " else [])))


REQUESTS = st.builds(
    Request,
    principal=st.one_of(st.none(), IDS),
    method=st.sampled_from(METHODS),
    path=spelled_paths().filter(lambda spelled: not path.fault_in_request(spelled)),
)
