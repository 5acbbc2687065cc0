"""What the agent is told, as one frozen value; every problem is reported at once.

Pure but for the host name. Files that are named here are not opened: they may appear later, but for those that
`process` must have at the start.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar, cast

from meshca.agent.flags import OFF, Given, gather
from meshca.agent.keys import KeyChoice
from meshca.agent.pin import Fingerprint, Pin, RootFile, SystemRoots
from meshca.agent.target import Target
from meshca.duration import parse_duration
from meshca.errors import BadRequest, ConfigError
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import TrustDomain

T = TypeVar("T")
_TEN_YEARS = timedelta(days=3650)
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]
_LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
_FORMATS: tuple[Format, ...] = ("auto", "json", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The agent's settings; `flags.FLAGS` describes each. Times are in seconds, 0 or None where it is off."""

    endpoint: Target
    endpoint_mtls: Target | None
    server_name: str
    call_timeout: float
    pin: Pin
    token_file: Path
    account: ServiceAccount | None
    trust_domain: TrustDomain | None
    node_id: str
    key_type: KeyChoice
    lifetime: int
    write_certs: Path | None
    socket: Path
    allowed_uids: frozenset[int]
    envoy_timeout: float
    state_dir: Path | None
    readiness: Target | None
    log_level: Level
    log_format: Format


def read_options(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Flags and environment as options.

    Raises:
        ConfigError: with every problem found.
        SystemExit: from argparse, for --help (0) and unknown flags (2).
    """
    values, problems = gather(argv, environ)
    reader = _Reader(values, problems)
    options = Options(
        endpoint=reader.read("endpoint", Target.parse),
        endpoint_mtls=reader.optional("endpoint-mtls", Target.parse),
        server_name=reader.read("server-name", str),
        call_timeout=reader.read("call-timeout", waiting_seconds),
        pin=reader.pin(),
        token_file=reader.read("token-file", _path),
        account=reader.account(),
        trust_domain=reader.read("trust-domain", lambda text: TrustDomain(text) if text else None),
        node_id=reader.read("node-id", lambda text: text or socket.gethostname()),
        key_type=reader.read("key-type", key_choice),
        lifetime=reader.read("lifetime", lifetime_seconds),
        write_certs=reader.optional("write-certs", _path),
        socket=reader.read("socket", _path),
        allowed_uids=reader.read("allow-uid", _uids),
        envoy_timeout=reader.read("envoy-timeout", waiting_seconds),
        state_dir=reader.optional("state-dir", _path),
        readiness=reader.optional("readiness", Target.parse),
        log_level=reader.read("log-level", _one_of(_LEVELS)),
        log_format=reader.read("log-format", _one_of(_FORMATS)),
    )
    if reader.problems:
        raise ConfigError("meshca agent", reader.problems)
    return options


class _Reader:
    """Reads values one by one and gathers what is wrong; a value with a problem is never seen by anybody."""

    def __init__(self, values: Mapping[str, Given], problems: list[str]) -> None:
        self._values = values
        self.problems = problems

    def read(self, name: str, parse: Callable[[str], T]) -> T:
        """A value that must be there."""
        given = self._values[name]
        if given.text is None:
            self.problems.append(f"{given.place}: must be given; see meshca agent --help")
            return cast("T", None)
        return self._parse(given, parse)

    def optional(self, name: str, parse: Callable[[str], T]) -> T | None:
        """A value that may be missing, empty or off."""
        given = self._values[name]
        return None if given.text in {None, "", OFF} else self._parse(given, parse)

    def pin(self) -> Pin:
        """Exactly one way to trust."""
        chosen: list[Pin] = []
        if self._values["root"].text:
            chosen.append(self.read("root", lambda text: RootFile(_path(text))))
        if self._values["fingerprint"].text:
            chosen.append(self.read("fingerprint", Fingerprint.parse))
        if self.read("system-roots", _switch):
            chosen.append(SystemRoots())
        if len(chosen) != 1:
            self.problems.append(
                "give exactly one of --root, --fingerprint and --system-roots: whom to trust at first"
            )
        return chosen[0] if chosen else SystemRoots()

    def account(self) -> ServiceAccount | None:
        """Namespace and service account, both or neither."""
        namespace, name = self._values["namespace"], self._values["service-account"]
        if bool(namespace.text) != bool(name.text):
            self.problems.append("give both of --namespace and --service-account, or neither")
        if not namespace.text or not name.text:
            return None
        return self._parse(namespace, lambda text: ServiceAccount(namespace=text, name=str(name.text)))

    def _parse(self, given: Given, parse: Callable[[str], T]) -> T:
        try:
            return parse(given.text or "")
        except BadRequest as error:
            self.problems.append(f"{given.place}: {error.detail}")
        except ValueError as error:
            self.problems.append(f"{given.place}: {error}")
        return cast("T", None)


def duration(text: str) -> float:
    """Seconds of a duration of at most ten years.

    Raises:
        ValueError: with what was expected.
    """
    value = parse_duration(text)
    if value > _TEN_YEARS:
        raise ValueError("expected a duration of at most ten years")
    return value.total_seconds()


def lifetime_seconds(text: str) -> int:
    """Whole seconds of a duration; 0 asks for the CA's default.

    Raises:
        ValueError: with what was expected.
    """
    return int(duration(text))


def waiting_seconds(text: str) -> float:
    """A duration that somebody can wait for.

    Raises:
        ValueError: with what was expected.
    """
    seconds = duration(text)
    if not 0 < seconds <= 600:
        raise ValueError("expected a duration above 0s and of at most 10m")
    return seconds


def key_choice(text: str) -> KeyChoice:
    """The kind of key by its name.

    Raises:
        ValueError: with what was expected.
    """
    return _one_of(tuple(KeyChoice))(text)


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return Path(text)


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("expected true or false")
    return text == "true"


def _uids(text: str) -> frozenset[int]:
    if not text:
        return frozenset({os.geteuid(), 0})
    parts = text.split(",")
    if not all(re.fullmatch(r"[0-9]{1,10}", part) for part in parts):
        raise ValueError("expected user ids as numbers, separated by commas, such as 0,1337")
    return frozenset(int(part) for part in parts)


def _one_of(allowed: Sequence[T]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        for choice in allowed:
            if text == str(choice):
                return choice
        raise ValueError(f"expected {' or '.join(map(str, allowed))}")

    return parse
