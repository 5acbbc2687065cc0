"""What each login reads and asks; against a real server it is tested in tests/real/test_vault_logins.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshca.config.vault import VaultCertLogin, VaultLogin
from meshca.errors import ConfigError, Unavailable
from meshca.secret import Secret
from meshca.upstream.vault.answer import Answer, read_answer
from meshca.upstream.vault.client import NOBODY, Client, Method
from meshca.upstream.vault.faults import Fault, failure, fault_of
from meshca.upstream.vault.logins import LONGEST, check_pair, login_by
from tests.fakes.pki import ec_key, make_ca, pem_of

AUTH = {"auth": {"client_token": "s.fresh", "lease_duration": 60, "renewable": True}}
UNWRAP, LOOKUP = "sys/wrapping/unwrap", "sys/wrapping/lookup"


def made_by(path: str) -> dict[str, Any]:
    """What the server says of a wrapping token."""
    return {"data": {"creation_path": path, "creation_ttl": 300}}


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    path: str
    body: Mapping[str, object]
    token: str


class Asked(Client):
    """Answers as it is told to, and notes what was asked."""

    def __init__(self, answers: Mapping[str, dict[str, Any] | Unavailable]) -> None:
        self.answers = {LOOKUP: made_by("auth/approle/role/mesh/secret-id"), **answers}
        self.calls: list[Call] = []
        self.connections = 0

    async def call(
        self,
        method: Method,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        token: Secret[str] = NOBODY,
    ) -> Answer:
        """What is there for the path, or else a good login."""
        self.calls.append(Call(path, body or {}, token.reveal()))
        answer = self.answers.get(path, AUTH)
        if isinstance(answer, Unavailable):
            raise answer
        return read_answer(answer)

    async def reconnect(self) -> None:
        """Count it."""
        self.connections += 1


def token(folder: Path) -> VaultLogin:
    """By a token."""
    return VaultLogin.model_validate({"token": {"file": str(folder / "secret")}})


def kubernetes(folder: Path) -> VaultLogin:
    """By a service account."""
    return VaultLogin.model_validate({"kubernetes": {"role": "mesh", "token_file": str(folder / "secret")}})


def approle(folder: Path) -> VaultLogin:
    """By an AppRole."""
    return VaultLogin.model_validate(
        {"approle": {"role_id": "mesh", "secret_id_file": str(folder / "secret"), "mount": "roles"}}
    )


def wrapped(folder: Path) -> VaultLogin:
    """By an AppRole whose secret id is wrapped."""
    login = {"role_id": "mesh", "secret_id_file": str(folder / "secret"), "wrapped": True}
    return VaultLogin.model_validate({"approle": login})


def cert(folder: Path, role: str | None = "mesh") -> VaultLogin:
    """By a certificate."""
    files = {"certificate_file": str(folder / "tls.crt"), "key_file": str(folder / "tls.key")}
    return VaultLogin.model_validate({"cert": files | ({"role": role} if role else {})})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a secret, and a certificate with its key."""
    pair = make_ca("client")
    (tmp_path / "secret").write_text("s.ours\n")
    (tmp_path / "tls.crt").write_text(pair.pem)
    (tmp_path / "tls.key").write_text(pair.key_pem)
    return tmp_path


async def test_token(folder: Path) -> None:
    """A token in a file is looked up, so that its end is known."""
    asked = Asked({"auth/token/lookup-self": {"data": {"ttl": 90, "renewable": False}}})
    had = await login_by(token(folder))(asked)
    assert (had.value.reveal(), had.seconds, had.renewable) == ("s.ours", 90, False)
    assert asked.calls == [Call("auth/token/lookup-self", {}, "s.ours")]


@pytest.mark.parametrize(("expire_time", "seconds"), [(None, 0), ("2026-01-01T00:00:00.9Z", 1)])
async def test_token_without_a_whole_second(folder: Path, expire_time: str | None, seconds: int) -> None:
    """A token that has an end is not for ever in its last second, though what is left of it is told as 0."""
    asked = Asked({"auth/token/lookup-self": {"data": {"ttl": 0, "expire_time": expire_time}}})
    assert (await login_by(token(folder))(asked)).seconds == seconds


async def test_kubernetes(folder: Path) -> None:
    """A service account shows its token and names its role, to the mount that is configured."""
    asked = Asked({})
    had = await login_by(kubernetes(folder))(asked)
    assert (had.value.reveal(), had.seconds, had.renewable) == ("s.fresh", 60, True)
    assert asked.calls == [Call("auth/kubernetes/login", {"role": "mesh", "jwt": "s.ours"}, "")]


async def test_approle(folder: Path) -> None:
    """An AppRole shows its secret id."""
    asked = Asked({})
    await login_by(approle(folder))(asked)
    assert asked.calls == [Call("auth/roles/login", {"role_id": "mesh", "secret_id": "s.ours"}, "")]


@pytest.mark.parametrize(("role", "body"), [("mesh", {"name": "mesh"}), (None, {})])
async def test_cert(folder: Path, role: str | None, body: Mapping[str, object]) -> None:
    """A certificate is shown by a new connection; the role is named when there is one."""
    asked = Asked({})
    await login_by(cert(folder, role))(asked)
    assert (asked.calls, asked.connections) == ([Call("auth/cert/login", body, "")], 1)


@pytest.mark.parametrize("method", [token, kubernetes, approle, wrapped])
@pytest.mark.parametrize(
    "content", [None, "", "\n", "s.one\ns.two\n", "s.one s.two", "s.\x00", "é", "s" * (LONGEST + 1)]
)
async def test_unusable_file(folder: Path, method: Callable[[Path], VaultLogin], content: str | None) -> None:
    """A file that is missing or is not one line is told by its path, without its content; nobody is asked."""
    if content is None:
        (folder / "secret").unlink()
    else:
        (folder / "secret").write_text(content)
    asked = Asked({})
    with pytest.raises(Unavailable) as refused:
        await login_by(method(folder))(asked)
    assert (fault_of(refused.value), asked.calls) == (Fault.LOGIN_UNREADABLE, [])
    assert str(folder / "secret") in refused.value.detail
    assert "s.one" not in refused.value.detail


@pytest.mark.parametrize("method", [token, kubernetes, approle])
async def test_file_is_read_anew(folder: Path, method: Callable[[Path], VaultLogin]) -> None:
    """Each login shows what is in the file then."""
    asked = Asked({"auth/token/lookup-self": {"data": {"ttl": 90}}})
    login = login_by(method(folder))
    await login(asked)
    (folder / "secret").write_text("s.next")
    await login(asked)
    assert ["s.next" in str(call) for call in asked.calls] == [False, True]


@pytest.mark.parametrize("method", [token, kubernetes, approle, cert])
@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.BAD_REQUEST, Fault.MOUNT])
async def test_refused(folder: Path, method: Callable[[Path], VaultLogin], fault: Fault) -> None:
    """Whatever status a refusal has, it is told as one of the login, without the secret."""
    paths = ("auth/token/lookup-self", "auth/kubernetes/login", "auth/roles/login", "auth/cert/login")
    with pytest.raises(Unavailable) as refused:
        await login_by(method(folder))(Asked(dict.fromkeys(paths, failure(fault))))
    assert fault_of(refused.value) is Fault.LOGIN_REFUSED
    assert "s.ours" not in refused.value.detail


@pytest.mark.parametrize("fault", [Fault.SEALED, Fault.SERVER_ERROR, Fault.RATE_LIMITED])
async def test_no_refusal(folder: Path, fault: Fault) -> None:
    """What is no refusal stays what it is: it may pass."""
    with pytest.raises(Unavailable) as failed:
        await login_by(kubernetes(folder))(Asked({"auth/kubernetes/login": failure(fault)}))
    assert fault_of(failed.value) is fault


async def test_wrapped(folder: Path) -> None:
    """A wrapping token is spent once; later logins show what was in it."""
    asked = Asked({UNWRAP: {"data": {"secret_id": "inner"}}})
    login = login_by(wrapped(folder))
    await login(asked)
    await login(asked)
    shown = Call("auth/approle/login", {"role_id": "mesh", "secret_id": "inner"}, "")
    assert asked.calls == [Call(LOOKUP, {}, "s.ours"), Call(UNWRAP, {}, "s.ours"), shown, shown]


@pytest.mark.parametrize("path", ["auth/approle/role/x/custom-secret-id", "team/a/auth/approle/role/x/secret-id"])
async def test_wrapped_by_its_maker(folder: Path, path: str) -> None:
    """A wrapping token that was made with a secret id is opened, also in a namespace."""
    await login_by(wrapped(folder))(Asked({LOOKUP: made_by(path), UNWRAP: {"data": {"secret_id": "inner"}}}))


@pytest.mark.parametrize(
    "path", ["sys/wrapping/wrap", "auth/other/role/a/secret-id", "auth/approle/role/a/b/secret-id"]
)
async def test_wrapped_by_another(folder: Path, path: str) -> None:
    """One that was made elsewhere is told and not spent: the first may have been opened on the way."""
    asked = Asked({LOOKUP: made_by(path)})
    with pytest.raises(Unavailable, match="was not made by auth/approle/role/ROLE/secret-id, so") as refused:
        await login_by(wrapped(folder))(asked)
    assert fault_of(refused.value) is Fault.LOGIN_UNREADABLE
    assert [call.path for call in asked.calls] == [LOOKUP]


async def test_wrapped_anew(folder: Path) -> None:
    """Another wrapping token in the file is spent too."""
    asked = Asked({UNWRAP: {"data": {"secret_id": "inner"}}})
    login = login_by(wrapped(folder))
    await login(asked)
    (folder / "secret").write_text("s.next")
    await login(asked)
    assert [call.token for call in asked.calls if call.path == UNWRAP] == ["s.ours", "s.next"]


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.BAD_REQUEST, Fault.SECRET_ID_USED])
@pytest.mark.parametrize("call", [LOOKUP, UNWRAP])
async def test_wrapped_is_used(folder: Path, fault: Fault, call: str) -> None:
    """A wrapping token that is over may have been used by somebody else, and the text says what to do then."""
    with pytest.raises(Unavailable, match="if it was not us who used it, revoke that secret id") as refused:
        await login_by(wrapped(folder))(Asked({call: failure(fault), UNWRAP: failure(fault)}))
    assert fault_of(refused.value) is Fault.SECRET_ID_USED


async def test_wrapped_outage(folder: Path) -> None:
    """While the server is away nothing is said of the wrapping token, and it is tried again."""
    asked = Asked({UNWRAP: failure(Fault.SEALED)})
    login = login_by(wrapped(folder))
    with pytest.raises(Unavailable) as failed:
        await login(asked)
    assert fault_of(failed.value) is Fault.SEALED
    asked.answers[UNWRAP] = {"data": {"secret_id": "inner"}}
    await login(asked)


async def test_wrapped_something_else(folder: Path) -> None:
    """A wrapping token around something else is told by its file."""
    with pytest.raises(Unavailable, match="something else than a secret id") as refused:
        await login_by(wrapped(folder))(Asked({UNWRAP: {"data": {"password": "inner"}}}))
    assert fault_of(refused.value) is Fault.LOGIN_UNREADABLE
    assert "inner" not in refused.value.detail


async def test_answer_without_a_token(folder: Path) -> None:
    """An answer that has no token is none."""
    with pytest.raises(Unavailable) as refused:
        await login_by(kubernetes(folder))(Asked({"auth/kubernetes/login": {"auth": {}}}))
    assert fault_of(refused.value) is Fault.ANSWER


@pytest.mark.parametrize("token", ["t\n", "a b", "t\r\nX-Vault-Token: u", "t" * (LONGEST + 1)])
async def test_answer_with_no_word(folder: Path, token: str) -> None:
    """A token that cannot stand in a header is no answer; otherwise every call would fail until it is over."""
    auth = {"client_token": token, "lease_duration": 3600, "renewable": True}
    with pytest.raises(Unavailable) as refused:
        await login_by(kubernetes(folder))(Asked({"auth/kubernetes/login": {"auth": auth}}))
    assert fault_of(refused.value) is Fault.ANSWER


def missing(folder: Path) -> None:
    """No key."""
    (folder / "tls.key").unlink()


def empty(folder: Path) -> None:
    """No certificate in the file."""
    (folder / "tls.crt").write_text("")


def of_another(folder: Path) -> None:
    """The key of somebody else."""
    (folder / "tls.key").write_text(pem_of(ec_key()))


def encrypted(folder: Path) -> None:
    """A key with a password."""
    pair = make_ca("client")
    (folder / "tls.crt").write_text(pair.pem)
    (folder / "tls.key").write_text(pem_of(pair.key, b"password"))


@pytest.mark.parametrize("spoil", [missing, empty, of_another, encrypted])
async def test_pair(folder: Path, spoil: Callable[[Path], None]) -> None:
    """A certificate without its own open key is refused by its path, at the start and at each login."""
    spoil(folder)
    method = cert(folder).method
    assert isinstance(method, VaultCertLogin)
    with pytest.raises(ConfigError, match=r"tls\.key"):
        check_pair(method)
    asked = Asked({})
    with pytest.raises(Unavailable) as refused:
        await login_by(cert(folder))(asked)
    assert (fault_of(refused.value), asked.calls) == (Fault.LOGIN_UNREADABLE, [])
