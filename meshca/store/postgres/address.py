"""Where the shared database is: reads its URL, and hands it to libpq. Never repeats it: it may hold a password.

A password comes from a file, from PGPASSFILE or from a service file, never from the configuration. Options are an
allow-list; over a network the server must prove itself unless the URL says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from meshca import durable
from meshca.errors import ConfigError

SOURCE: Final = "ledger.url"
EXAMPLE: Final = "postgresql://user@host:5432/database?password_file=/path"
CONNECT_SECONDS: Final = 3  # for each address of the server; a pod that moved answers nothing
# libpq-connect.html section 34.1.2
_ALLOWED: Final = frozenset({
    "user", "host", "hostaddr", "port", "dbname", "service", "passfile", "sslmode", "sslrootcert", "sslcert",
    "sslkey", "sslcrl", "sslnegotiation", "channel_binding", "require_auth", "gssencmode", "krbsrvname",
})  # fmt: skip
# Of several hosts the one that takes writes; of a server that hangs or is cut off the kernel tells us.
_OURS: Final = {
    "target_session_attrs": "read-write",
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_encoding": "UTF8",
    "application_name": "meshca",
}
_PASSWORD_FILE: Final = "password_file"  # noqa: S105 - an option's name
_NOT_HERE: Final = (
    "a PostgreSQL password must not stand in the configuration; write it into a file that only this user can read"
    " and name it: ?password_file=/path; PGPASSFILE and a service file will do as well"
)
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """How to connect; made by `parse`.

    Attributes:
        options: for libpq, without a password.
        password_file: what the password is read from at each connection; None when libpq finds it.
        where: server and database in words, for errors.
    """

    options: Mapping[str, str] = field(repr=False)
    password_file: Path | None
    where: str

    def parameters(self) -> dict[str, str]:
        """What libpq takes, the password as its file says now.

        Raises:
            ConfigError: the password's file cannot be used.
        """
        if self.password_file is None:
            return dict(self.options)
        return {**self.options, "password": _password(self.password_file)}


def parse(url: str) -> Address:
    """What a URL says.

    Raises:
        ConfigError: it is no URL of PostgreSQL, has a password, or an option that is not allowed.
    """
    plain, password_file = _without_password_file(url)
    if not plain.startswith(("postgresql://", "postgres://")):
        raise ConfigError(SOURCE, [f"expected {EXAMPLE}"])
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(plain).items() if value}
    except ProgrammingError:
        problem = f"cannot be read: a part of it is misspelled or is no option of PostgreSQL; expected {EXAMPLE}"
        raise ConfigError(SOURCE, [problem]) from None
    if "password" in found:
        raise ConfigError(SOURCE, [_NOT_HERE])
    if strange := sorted(found.keys() - _ALLOWED):
        problem = f"the option {strange[0]} cannot be set here; possible are {', '.join(sorted(_ALLOWED))}"
        raise ConfigError(SOURCE, [problem])
    return Address({**_trust(found), **_OURS}, password_file, _where(found))


def _without_password_file(url: str) -> tuple[str, Path | None]:
    """Our own option, taken out: libpq does not know it."""
    start, mark, query = url.partition("?")
    others, path = [], None
    for part in query.split("&") if mark else []:
        name, _, value = part.partition("=")
        if name == _PASSWORD_FILE:
            path = Path(unquote(value)) if value else None
            if path is None:
                raise ConfigError(SOURCE, ["password_file is empty; name a file"])
        else:
            others.append(part)
    return start + ("?" + "&".join(others) if others else ""), path


def _trust(found: Mapping[str, str]) -> dict[str, str]:
    """With a check of the server's certificate wherever a network may be in between."""
    hosts = found.get("host", "").split(",")
    remote = any(host and host not in _LOCAL and not host.startswith(("/", "@")) for host in hosts)
    if "sslmode" in found or "service" in found or not (remote or "hostaddr" in found):
        return dict(found)
    checked = {"sslmode": "verify-full", **found}
    return checked if "sslrootcert" in found else {**checked, "sslrootcert": "system"}


def _where(found: Mapping[str, str]) -> str:
    if "service" in found:
        return f"PostgreSQL service {found['service']}"
    host = found.get("host") or found.get("hostaddr") or "its usual socket"
    port = f":{found['port']}" if found.get("port", "").strip(",") else ""
    database = found.get("dbname") or found.get("user") or "of this user's name"
    return f"PostgreSQL at {host}{port}, database {database}"


def _password(path: Path) -> str:
    text = durable.read_text(path).removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or "\0" in text:
        raise ConfigError(str(path), ["expected a password on one line"])
    return text
