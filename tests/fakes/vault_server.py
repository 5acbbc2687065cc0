"""A stand-in for Vault over HTTP on loopback: what OpenBao answers, and what it cannot show.

async with serving_vault() as vault:
    vault.once(refusing(472))  # the next call; `always` for all, `at` for one path
    config = vault.config(folder)

Everything that is not told is answered as the real server does: issuers, signing, logins by AppRole, tokens.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from meshca.config.vault import VaultConfig
from tests.fakes.vault_pki import PkiMount
from tests.fakes.vault_replies import Reply, as_json, refused

ROLE_ID, SECRET_ID = "role-of-meshca", "secret-id-of-meshca"
_DENIED = ["permission denied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that came.

    Attributes:
        method: of HTTP.
        path: below `/v1/`, with its query.
        headers: as they came.
        body: parsed.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True, kw_only=True)
class FakeVault:
    """A server.

    Attributes:
        pki: the engine at `pki/`.
        address: where it is.
        roots: file that verifies its TLS certificate; None for plain HTTP.
        calls: that came.
        tokens: that are good, with the instant of their end.
        token_seconds: that a login gives.
        renewable: whether its tokens are.
        secret_ids: that are good, with the number of logins left.
        wrapped: what each wrapping token holds.
        capabilities: that our token has.
        namespaces: that there are.
        skew: of the server's clock.
    """

    pki: PkiMount
    address: str = ""
    roots: Path | None = None
    calls: list[Call] = field(default_factory=list)
    tokens: dict[str, datetime] = field(default_factory=dict)
    token_seconds: int = 3600
    renewable: bool = True
    secret_ids: dict[str, int] = field(default_factory=lambda: {SECRET_ID: 1_000_000})
    wrapped: dict[str, str] = field(default_factory=dict)
    capabilities: dict[str, list[str]] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    skew: timedelta = timedelta(0)
    _next: deque[Reply] = field(default_factory=deque)
    _always: Reply | None = None
    _at: dict[str, Reply] = field(default_factory=dict)
    _logins: int = 0

    def once(self, *replies: Reply) -> None:
        """Answer the next calls so."""
        self._next.extend(replies)

    def always(self, reply: Reply | None) -> None:
        """Answer every call so; None: truly."""
        self._always = reply

    def at(self, ending: str, reply: Reply) -> None:
        """Answer calls so whose path ends so."""
        self._at[ending] = reply

    def paths(self) -> list[str]:
        """Where the calls went."""
        return [call.path for call in self.calls]

    def config(self, folder: Path, **changes: Any) -> VaultConfig:
        """The upstream over this server, by its AppRole, with its root pinned by a file in the folder."""
        secret_id, roots = folder / "secret-id", folder / "roots.pem"
        secret_id.write_text(SECRET_ID)
        roots.write_text(self.pki.root.pem)
        tree = {
            "kind": "vault",
            "address": self.address,
            "allow_http": self.roots is None,
            "ca_file": str(self.roots) if self.roots else None,
            "login": {"approle": {"role_id": ROLE_ID, "secret_id_file": str(secret_id)}},
            "roots": {"file": str(roots)},
        }
        return VaultConfig.model_validate(tree | changes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        raw = await request.read()
        path = request.path_qs.removeprefix("/v1/")
        body = orjson.loads(raw) if raw else None
        self.calls.append(Call(method=request.method, path=path, headers=dict(request.headers), body=body))
        told = next((reply for ending, reply in self._at.items() if request.path.endswith(ending)), None)
        if self._next:
            told = self._next.popleft()
        return await (told or self._always or self.truly)(request)

    async def truly(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - one for each route
        """Answer as the real server does."""
        namespace = request.headers.get("X-Vault-Namespace", "")
        if namespace and request.path == "/v1/sys/health":  # whether it is there or not
            return refused(400, "operation unavailable in namespaces")
        if namespace and namespace not in self.namespaces:
            return refused(404, "namespace not found")
        match request.path.removeprefix("/v1/").split("/"):
            case ["sys", "health"]:
                now = int((self.pki.now() + self.skew).timestamp())
                page = {"initialized": True, "sealed": False, "version": "2.7.2", "server_time_utc": now}
                return as_json(page)
            case ["pki", "issuers"]:
                return as_json({"data": {"keys": [f"id-{name}" for name in self.pki.issuers]}})
            case ["pki", "issuer", ref, "json"]:
                name = self.pki.found(ref)
                return as_json({"data": self.pki.issuer(name)}) if name else _no_issuer(ref)
            case ["auth", "approle", "login"]:
                return self._log_in(await _body(request))
            case ["sys", "wrapping", "lookup" | "unwrap" as act]:
                return self._unwrap(_token(request), spent=act == "unwrap")
        if not self._is_good(_token(request)):
            return refused(403, *_DENIED)
        return await self._as_somebody(request)

    async def _as_somebody(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - as above
        token = _token(request)
        match request.path.removeprefix("/v1/").split("/"):
            case ["pki", "issuer", ref, "sign-intermediate"]:
                name = self.pki.found(ref)
                if name is None:
                    return _no_issuer(ref)
                data, warnings = self.pki.signed(name, await _body(request))
                return as_json({"data": data, "warnings": warnings})
            case ["pki", "issuer", ref, "sign", role]:
                if role not in self.pki.roles:
                    return refused(400, f"unknown role: {role}")
                name = self.pki.found(ref)
                return as_json({"data": self.pki.leaf(name, await _body(request))}) if name else _no_issuer(ref)
            case ["auth", "token", "lookup-self"]:
                ttl = int((self.tokens[token] - self.pki.now()).total_seconds())
                return as_json({"data": {"ttl": ttl, "renewable": self.renewable, "id": token}})
            case ["auth", "token", "renew-self"] if self.renewable:
                return as_json({"auth": self._granted(token)})
            case ["auth", "token", "renew-self"]:
                return refused(400, "lease is not renewable")
            case ["sys", "capabilities-self"]:
                paths = (await _body(request))["paths"]
                return as_json({"data": {path: self.capabilities.get(path, ["deny"]) for path in paths}})
        return refused(404, "no handler for route")

    def _log_in(self, body: Mapping[str, str]) -> web.Response:
        left = self.secret_ids.get(body["secret_id"], 0)
        if body["role_id"] != ROLE_ID or not left:
            return refused(400, "invalid role or secret ID")
        self.secret_ids[body["secret_id"]] = left - 1
        self._logins += 1
        return as_json({"auth": self._granted(f"token-{self._logins}")})

    def _granted(self, token: str) -> dict[str, Any]:
        self.tokens[token] = self.pki.now() + timedelta(seconds=self.token_seconds)
        return {"client_token": token, "lease_duration": self.token_seconds, "renewable": self.renewable}

    def _unwrap(self, token: str, *, spent: bool) -> web.Response:
        if token not in self.wrapped:
            return refused(400, "wrapping token is not valid or does not exist")
        if not spent:
            return as_json({"data": {"creation_path": "auth/approle/role/mesh/secret-id"}})
        return as_json({"data": {"secret_id": self.wrapped.pop(token)}})

    def _is_good(self, token: str) -> bool:
        return token in self.tokens and self.tokens[token] > self.pki.now()


@contextlib.asynccontextmanager
async def serving_vault(
    *, now: Callable[[], datetime] = lambda: datetime.now(UTC), tls: tuple[Path, Path, Path] | None = None
) -> AsyncIterator[FakeVault]:
    """A server with one root.

    Args:
        now: its clock.
        tls: files with the roots of its certificate, the certificate and the key; plain HTTP when None.
    """
    vault = FakeVault(pki=PkiMount.new(now), roots=tls[0] if tls else None)
    async with serving(vault.handle, tls=tls) as vault.address:
        yield vault


@contextlib.asynccontextmanager
async def serving(handler: Reply, *, tls: tuple[Path, Path, Path] | None = None) -> AsyncIterator[str]:
    """Serve every path by this handler; gives the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls[1], tls[2])
    await server.start_server(ssl=context, shutdown_timeout=0.1)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def _no_issuer(ref: str) -> web.Response:
    return refused(500, f"unable to find PKI issuer for reference: {ref}")


def _token(request: web.Request) -> str:
    return request.headers.get("X-Vault-Token", "")


async def _body(request: web.Request) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(await request.read())
    return body
