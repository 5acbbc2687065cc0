"""How we prove ourselves: each method reads its file anew and asks for a token.

What is in a file must never reach an error text or a log.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from meshca import durable
from meshca.config.vault import (
    VaultAppRoleLogin,
    VaultCertLogin,
    VaultKubernetesLogin,
    VaultLogin,
    VaultTokenLogin,
)
from meshca.errors import ConfigError, Unavailable
from meshca.secret import Secret
from meshca.upstream.vault.answer import Part
from meshca.upstream.vault.client import Client
from meshca.upstream.vault.faults import Fault, failure, fault_of

LONGEST: Final = 64 * 1024  # bytes of a token; a JSON Web Token has 1 to 4 KB
_REFUSED: Final = frozenset({Fault.FORBIDDEN, Fault.BAD_REQUEST, Fault.MOUNT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token and how long it lasts.

    Attributes:
        value: the token.
        seconds: that it lives from when it was asked for; 0 for ever.
        renewable: whether it may be renewed; a batch token may not.
    """

    value: Secret[str]
    seconds: int
    renewable: bool


class Login(Protocol):
    """One method."""

    async def __call__(self, client: Client) -> Token:
        """A fresh token.

        Raises:
            Unavailable: reason `vault_login_unreadable`, `vault_login_refused`, or as `Client.call`.
        """
        ...


def login_by(config: VaultLogin) -> Login:
    """The method that is configured."""
    return _METHODS[type(config.method)](config.method)


class _ByToken:
    def __init__(self, config: VaultTokenLogin) -> None:
        self._config = config

    async def __call__(self, client: Client) -> Token:
        token = read_secret(self._config.file)
        try:
            data = (await client.call("get", "auth/token/lookup-self", token=token)).data
        except Unavailable as error:
            raise _refused(error, f"by the token in {self._config.file}") from None
        # Without an end it lasts for ever; a whole second less than one is 0 too.
        seconds = data.seconds("ttl") or int(data.has("expire_time"))
        return Token(value=token, seconds=seconds, renewable=data.flag("renewable"))


class _ByKubernetes:
    def __init__(self, config: VaultKubernetesLogin) -> None:
        self._config = config

    async def __call__(self, client: Client) -> Token:
        config = self._config
        jwt = read_secret(config.token_file)
        body = {"role": config.role, "jwt": jwt.reveal()}
        return await _logged_in(client, f"auth/{config.mount}/login", body, f"as the role {config.role}")


class _ByAppRole:
    """The secret id of a wrapping token is kept until the file changes: it can be unwrapped once only."""

    def __init__(self, config: VaultAppRoleLogin) -> None:
        self._config = config
        self._unwrapped: tuple[Secret[str], Secret[str]] | None = None

    async def __call__(self, client: Client) -> Token:
        config = self._config
        secret_id = read_secret(config.secret_id_file)
        if config.wrapped:
            secret_id = await self._unwrap(client, secret_id)
        body = {"role_id": config.role_id, "secret_id": secret_id.reveal()}
        how = f"as the role {config.role_id}; its secret id may have ended, or been used as often as it may be"
        return await _logged_in(client, f"auth/{config.mount}/login", body, how)

    async def _unwrap(self, client: Client, wrapping: Secret[str]) -> Secret[str]:
        if self._unwrapped is not None and self._unwrapped[0] == wrapping:
            return self._unwrapped[1]
        try:
            made = (await client.call("post", "sys/wrapping/lookup", token=wrapping)).data
            self._check_maker(made.text("creation_path"))
            data = (await client.call("post", "sys/wrapping/unwrap", token=wrapping)).data
        except Unavailable as error:
            if fault_of(error) in {Fault.FORBIDDEN, Fault.BAD_REQUEST, Fault.SECRET_ID_USED}:
                raise failure(Fault.SECRET_ID_USED) from None
            raise
        if not data.has("secret_id"):
            problem = (
                f"{self._config.secret_id_file}: its wrapping token had something else than a secret id in it"
            )
            raise failure(Fault.LOGIN_UNREADABLE, problem)
        self._unwrapped = wrapping, Secret(data.text("secret_id"))
        return self._unwrapped[1]

    def _check_maker(self, path: str) -> None:
        """Whoever has opened a wrapping token can wrap what was in it again, but not where secret ids are made.

        Raises:
            Unavailable: reason `vault_login_unreadable`, before the token is spent.
        """
        makers = f"auth/{self._config.mount}/role/ROLE/secret-id"
        pattern = re.escape(makers).replace("ROLE", "[^/]+").replace("secret", "(custom-)?secret")
        if not re.fullmatch(f"(.+/)?{pattern}", path):  # after the namespace, if there is one
            problem = (
                f"{self._config.secret_id_file}: its wrapping token was not made by {makers}, so that may have"
                " been opened: revoke its secret id, and have another wrapped one put there"
            )
            raise failure(Fault.LOGIN_UNREADABLE, problem)


class _ByCertificate:
    """The certificate is shown by TLS: a new connection reads it, this only names the role."""

    def __init__(self, config: VaultCertLogin) -> None:
        self._config = config

    async def __call__(self, client: Client) -> Token:
        config = self._config
        try:
            check_pair(config)
        except ConfigError as error:
            raise failure(Fault.LOGIN_UNREADABLE, error.detail) from None
        await client.reconnect()
        body = {"name": config.role} if config.role else {}
        return await _logged_in(client, f"auth/{config.mount}/login", body, f"by {config.certificate_file}")


_METHODS: Final[dict[type, Callable[..., Login]]] = {
    VaultTokenLogin: _ByToken,
    VaultKubernetesLogin: _ByKubernetes,
    VaultAppRoleLogin: _ByAppRole,
    VaultCertLogin: _ByCertificate,
}


async def _logged_in(client: Client, path: str, body: dict[str, str], how: str) -> Token:
    try:
        auth = (await client.call("post", path, body)).auth
    except Unavailable as error:
        raise _refused(error, how) from None
    return token_of(auth)


def token_of(auth: Part) -> Token:
    """The token in the answer to a login or a renewal.

    Raises:
        Unavailable: reason `vault_answer`.
    """
    value = auth.text("client_token")
    if not _is_one_word(value):  # it is shown in a header
        raise failure(Fault.ANSWER, "a token has a space, or is too long")
    return Token(
        value=Secret(value),
        seconds=auth.seconds("lease_duration"),
        renewable=auth.flag("renewable"),
    )


def check_pair(config: VaultCertLogin) -> None:
    """Find what keeps our certificate from being shown by TLS.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    for path in (config.certificate_file, config.key_file):
        durable.read(path)
    try:
        # The password is for a key that has one: nobody shall be asked for it at a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
            config.certificate_file, config.key_file, password=""
        )
    except (OSError, ValueError):
        wanted = f"{config.certificate_file} and {config.key_file} do not fit"
        raise ConfigError(
            "upstream.login.cert", [f"{wanted}: expected a certificate and its own key, PEM, without a password"]
        ) from None


def _refused(error: Unavailable, how: str) -> Unavailable:
    """A refusal of a login, whichever status it has; what is no refusal stays what it is."""
    return failure(Fault.LOGIN_REFUSED, how) if fault_of(error) in _REFUSED else error


def read_secret(path: Path) -> Secret[str]:
    """One line of a file that holds a secret.

    Raises:
        Unavailable: reason `vault_login_unreadable`.
    """
    try:
        text = durable.read(path).decode("ascii").strip()
    except ConfigError as error:
        raise failure(Fault.LOGIN_UNREADABLE, error.detail) from None
    except UnicodeDecodeError:
        text = ""
    if not _is_one_word(text):
        raise failure(Fault.LOGIN_UNREADABLE, f"{path}: expected one line without spaces")
    return Secret(text)


def _is_one_word(text: str) -> bool:
    return 0 < len(text) <= LONGEST and text.isascii() and text.isprintable() and " " not in text
