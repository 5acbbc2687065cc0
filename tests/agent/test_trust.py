"""Whom the agent believes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.agent.bundle import Bundle, parse_bundle
from meshca.agent.chain import fingerprint
from meshca.agent.pin import Fingerprint, Pin, RootFile, SystemRoots
from meshca.agent.state import State
from meshca.agent.trust import Trust
from meshca.errors import Unavailable
from tests.fakes.ca import FakeCa, authority, certificate, new_key
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CA = FakeCa(FakeClock(NOW))
NEXT = authority("next", NOW - timedelta(days=1), NOW + timedelta(days=30))
A, B = parse_bundle(CA.root.pem, NOW), parse_bundle(NEXT.pem, NOW)
PIN = Fingerprint(fingerprint(CA.root.certificate))


class Wire:
    """What the CA presents."""

    def __init__(self) -> None:
        self.presented = tuple(x509.load_pem_x509_certificates(CA.serving_pair()[0].encode()))
        self.fetched = 0
        self.failure: Unavailable | None = None

    async def __call__(self) -> tuple[x509.Certificate, ...]:
        """Fetch."""
        self.fetched += 1
        if self.failure is not None:
            raise self.failure
        return self.presented


@pytest.fixture
def wire() -> Wire:
    """A CA that presents leaf, intermediate and root."""
    return Wire()


@pytest.fixture
def file(tmp_path: Path) -> RootFile:
    """A root file with root A."""
    (tmp_path / "root.pem").write_text(A.pem)
    return RootFile(tmp_path / "root.pem")


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A folder that outlives an agent."""
    return State(tmp_path / "state")


def trust(pin: Pin, wire: Wire, state: State | None = None) -> Trust:
    """An agent's trust as it starts."""
    return Trust(pin, fetch=wire, clock=FakeClock(datetime.now(UTC)), state=state)


async def test_a_root_file_is_trusted(file: RootFile, wire: Wire) -> None:
    """For channels and for certificates."""
    held = trust(file, wire)
    assert await held.channel_roots() == A.pem.encode()
    assert held.bundle == A


async def test_a_changed_root_file_is_followed(file: RootFile, wire: Wire) -> None:
    """At the next channel."""
    held = trust(file, wire)
    await held.channel_roots()
    file.path.write_text(B.pem)
    assert await held.channel_roots() == B.pem.encode()
    assert held.bundle == B


@pytest.mark.parametrize("content", ["", "garbage", None])
async def test_a_bad_root_file_leaves_the_last_good_one(file: RootFile, wire: Wire, content: str | None) -> None:
    """A half-written file is no reason to lose the CA."""
    held = trust(file, wire)
    await held.channel_roots()
    file.path.unlink() if content is None else file.path.write_text(content)
    with captured_logs() as logs:
        assert await held.channel_roots() == A.pem.encode()
    assert logs[0]["event"] == "trust.root_file_refused"


async def test_without_any_good_root_there_is_no_channel(file: RootFile, wire: Wire) -> None:
    """Never unverified."""
    file.path.unlink()
    with pytest.raises(Unavailable, match="root file"):
        await trust(file, wire).channel_roots()


async def test_system_roots_vouch_for_channels(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And say nothing about the mesh's own roots."""
    (tmp_path / "system.pem").write_text(A.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    held = trust(SystemRoots(), wire)
    assert await held.channel_roots() == A.pem.encode()
    assert held.bundle is None


def test_the_first_answer_gives_the_roots_when_system_roots_vouched(wire: Wire) -> None:
    """And only the first."""
    held = trust(SystemRoots(), wire)
    held.first(A)
    held.first(B)
    assert held.bundle == A


async def test_an_answer_gives_no_roots_where_a_pin_does(file: RootFile, wire: Wire) -> None:
    """The pin is what counts, also before it was read."""
    for pin in (file, PIN):
        held = trust(pin, wire)
        held.first(B)
        assert held.bundle is None
        await held.channel_roots()
        assert held.bundle == A


async def test_the_pinned_root_is_found_on_the_wire(wire: Wire) -> None:
    """Once; a fingerprint cannot mean anything else later."""
    held = trust(PIN, wire)
    assert await held.channel_roots() == A.pem.encode()
    await held.channel_roots()
    assert wire.fetched == 1


async def test_another_root_than_the_pinned_one_is_refused(wire: Wire) -> None:
    """Whatever else it presents."""
    held = trust(Fingerprint(fingerprint(NEXT.certificate)), wire)
    with pytest.raises(Unavailable) as caught:
        await held.channel_roots()
    assert caught.value.reason == "wrong_fingerprint"


async def test_a_pinned_root_that_the_chain_does_not_lead_to_is_refused(wire: Wire) -> None:
    """Roots are public: anybody can present one beside his own certificate."""
    wire.presented = (*wire.presented[:2], NEXT.certificate)
    with pytest.raises(Unavailable) as caught:
        await trust(Fingerprint(fingerprint(NEXT.certificate)), wire).channel_roots()
    assert caught.value.reason == "untrusted_chain"


async def test_a_pinned_intermediate_is_no_root(wire: Wire) -> None:
    """TLS libraries differ on whether to accept one."""
    with pytest.raises(Unavailable) as caught:
        await trust(Fingerprint(fingerprint(CA.signer.certificate)), wire).channel_roots()
    assert caught.value.reason == "wrong_fingerprint"


def changed_root() -> tuple[FakeCa, Wire]:
    """A CA whose root was changed, the old one retired: what it presents leads to the new one only."""
    ca, wire = FakeCa(FakeClock(NOW)), Wire()
    wire.presented = tuple(x509.load_pem_x509_certificates(ca.serving_pair()[0].encode()))
    return ca, wire


async def test_a_retired_pin_is_told_what_the_ca_presents_now() -> None:
    """By its fingerprint, as something unverified, with where to compare it and what to do."""
    ca, wire = changed_root()
    with pytest.raises(Unavailable) as caught:
        await trust(PIN, wire).channel_roots()
    assert caught.value.reason == "wrong_fingerprint"
    for part in (fingerprint(ca.root.certificate), "unverified", "`meshca root list`", "--fingerprint or --root"):
        assert part in caught.value.detail


UNTRUSTED = Unavailable("ca_untrusted", "no trusted TLS connection to the CA")


async def test_a_refused_handshake_is_told_what_the_ca_presents_now(file: RootFile) -> None:
    """With a root file, or what was learnt under it, the refusal comes from TLS."""
    ca, wire = changed_root()
    held = trust(file, wire)
    await held.channel_roots()
    told = await held.explain(UNTRUSTED)
    assert isinstance(told, Unavailable)
    assert told.reason == UNTRUSTED.reason
    assert told.detail.startswith(f"{UNTRUSTED.detail}; it presents the root with SHA-256 ")
    assert fingerprint(ca.root.certificate) in told.detail


@pytest.mark.parametrize("fault", ["held", "no root", "no path", "down", "another error"])
async def test_nothing_is_told_of_what_is_not_the_fault(file: RootFile, wire: Wire, fault: str) -> None:
    """Such as a wrong name in a certificate below the held root; nobody is sent to trust another one for it."""
    held = trust(file, wire)
    await held.channel_roots()
    _, other = changed_root()
    error = UNTRUSTED
    if fault == "no root":
        wire.presented = other.presented[:2]
    elif fault == "no path":
        wire.presented = (*wire.presented[:2], other.presented[-1])
    elif fault == "down":
        wire.failure = Unavailable("ca_unavailable", "test")
    elif fault == "another error":
        wire.presented, error = other.presented, Unavailable("ca_deadline", "test")
    assert (await held.explain(error)).args == error.args


async def test_the_old_pin_holds_until_the_old_root_is_retired(file: RootFile) -> None:
    """In every phase the ports show the line below the oldest root that counts, so no state folder is needed."""
    ca, wire = changed_root()
    file.path.write_text(ca.root.pem)
    pins: list[Pin] = [file, Fingerprint(fingerprint(ca.root.certificate))]
    old = ca.root
    for phase in ("distributing", "active", "retiring", "retired"):
        if phase == "active":
            ca.sign_below(authority("next root", NOW - timedelta(days=1), NOW + timedelta(days=30)))
        if phase == "retired":
            ca.line = None
        wire.presented = tuple(x509.load_pem_x509_certificates(ca.serving_pair()[0].encode()))
        for pin in pins:
            restarted = trust(pin, wire)
            if phase == "retired" and isinstance(pin, Fingerprint):
                with pytest.raises(Unavailable, match=fingerprint(ca.root.certificate)):
                    await restarted.channel_roots()
                continue
            roots = x509.load_pem_x509_certificates(await restarted.channel_roots())
            leads = phase != "retired"
            assert roots == [old.certificate]
            assert (fingerprint(ca.root.certificate) not in str(await restarted.explain(UNTRUSTED))) == leads


@pytest.mark.parametrize("kind", ["file", "fingerprint"])
async def test_what_was_learnt_replaces_the_pin(kind: str, file: RootFile, wire: Wire, state: State) -> None:
    """Now, and after a restart."""
    pin: Pin = file if kind == "file" else PIN
    held = trust(pin, wire, state)
    await held.channel_roots()
    held.learn(B)
    assert await held.channel_roots() == B.pem.encode()
    restarted = trust(pin, wire, state)
    assert restarted.bundle == B
    assert await restarted.channel_roots() == B.pem.encode()
    assert wire.fetched == (1 if kind == "fingerprint" else 0)


async def test_what_was_learnt_survives_an_unreadable_root_file(file: RootFile, wire: Wire, state: State) -> None:
    """The file is not needed any more."""
    held = trust(file, wire, state)
    await held.channel_roots()
    held.learn(B)
    file.path.unlink()
    assert await trust(file, wire, state).channel_roots() == B.pem.encode()


async def test_a_new_pin_of_the_operator_starts_afresh(file: RootFile, wire: Wire, state: State) -> None:
    """The way out when what was learnt is of no use any more; while running, and after a restart."""
    held = trust(file, wire, state)
    await held.channel_roots()
    held.learn(B)
    file.path.write_text(A.pem + B.pem)
    with captured_logs() as logs:
        await held.channel_roots()
    assert held.bundle == parse_bundle(A.pem + B.pem, NOW)
    assert logs[0]["event"] == "trust.pin_changed"
    assert trust(PIN, wire, state).bundle is None


@pytest.mark.parametrize("kind", ["file", "fingerprint"])
async def test_a_new_pin_wins_after_a_restart(kind: str, file: RootFile, wire: Wire, state: State) -> None:
    """Over what was learnt under the old one; and what is learnt from then on descends from the new one."""
    held = trust(file if kind == "file" else PIN, wire, state)
    await held.channel_roots()
    held.learn(A)
    ca, wire = changed_root()
    new = parse_bundle(ca.root.pem, NOW)
    pin: Pin = file if kind == "file" else Fingerprint(fingerprint(ca.root.certificate))
    file.path.write_text(new.pem)
    restarted = trust(pin, wire, state)
    assert await restarted.channel_roots() == new.pem.encode()
    assert restarted.bundle == new
    restarted.learn(B)
    again = trust(pin, wire, state)
    assert await again.channel_roots() == B.pem.encode()


async def test_learning_from_system_roots_keeps_them_for_channels(
    wire: Wire, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA's own certificate may come from elsewhere."""
    (tmp_path / "system.pem").write_text(A.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    trust(SystemRoots(), wire, state).learn(B)
    restarted = trust(SystemRoots(), wire, state)
    assert restarted.bundle == B
    assert await restarted.channel_roots() == A.pem.encode()


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"pin": f"sha256:{PIN.sha256}", "roots": "garbage"}, id="garbage"),
        pytest.param({"pin": f"sha256:{PIN.sha256}"}, id="no roots"),
        pytest.param({"pin": f"sha256:{PIN.sha256}", "roots": B.pem, "more": ""}, id="a field too many"),
    ],
)
async def test_a_damaged_record_is_as_none(record: dict[str, str], wire: Wire, state: State) -> None:
    """The pin is there for that."""
    state.save("trust", record)
    held = trust(PIN, wire, state)
    assert held.bundle is None
    assert await held.channel_roots() == A.pem.encode()


def test_a_learnt_bundle_that_has_expired_is_as_none(wire: Wire, state: State) -> None:
    """It could only refuse everybody."""
    old: Bundle = parse_bundle(authority("old", NOW - timedelta(days=2), NOW).pem, NOW - timedelta(days=1))
    state.save("trust", {"pin": f"sha256:{PIN.sha256}", "roots": old.pem})
    with captured_logs() as logs:
        assert trust(PIN, wire, state).bundle is None
    assert logs[0]["event"] == "trust.learnt_refused"


async def test_a_pinned_certificate_that_does_not_parse_is_no_root(wire: Wire) -> None:
    """Its extensions are garbage."""
    key = new_key()
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"garbage")
    broken = certificate(
        "x", key.public_key(), None, key, begin=NOW, end=NOW + timedelta(days=1), extensions=[(extension, True)]
    )
    wire.presented = (broken,)
    with pytest.raises(Unavailable) as caught:
        await trust(Fingerprint(fingerprint(broken)), wire).channel_roots()
    assert caught.value.reason == "wrong_fingerprint"


async def test_each_new_bundle_is_told_once(file: RootFile, wire: Wire, state: State) -> None:
    """What was learnt before is told at the start."""
    told: list[Bundle] = []
    held = Trust(file, fetch=wire, clock=FakeClock(NOW), state=state, changed=told.append)
    await held.channel_roots()
    await held.channel_roots()
    held.learn(B)
    held.learn(B)
    assert told == [A, B]
    Trust(file, fetch=wire, clock=FakeClock(NOW), state=state, changed=told.append)
    assert told == [A, B, B]
