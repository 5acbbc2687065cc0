"""Makes sure of every port before anything is started on it.

SO_REUSEPORT, which lets the workers share a port, also lets a second server silently take half of the
connections; so each port is first bound without it. Then it is held, bound with SO_REUSEPORT but not listening,
for as long as the server runs: the port is ours while workers come and go, also one that the system chose.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshca.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A numeric IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        return socket.AF_INET6 if ipaddress.ip_address(self.host).version == 6 else socket.AF_INET

    @property
    def reachable(self) -> Address:
        """The same, with loopback in place of "every interface": what a client on this machine uses."""
        if not ipaddress.ip_address(self.host).is_unspecified:
            return self
        return Address(host="::1" if ":" in self.host else "127.0.0.1", port=self.port)


def resolve(name: str, listen: str) -> Address:
    """The address that `host:port` means.

    Args:
        name: of the setting, for the message.
        listen: a numeric address or a name of this machine, and a port.

    Raises:
        ConfigError: when the host has no address.
    """
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        raise ConfigError(name, [f"{host} has no address; name an address of this machine"]) from None
    return Address(host=str(found[0][4][0]), port=int(port))


@contextlib.contextmanager
def reserve(shared: Mapping[str, str], own: Mapping[str, str]) -> Iterator[Mapping[str, socket.socket]]:
    """Hold every port that the server listens on.

    Args:
        shared: setting -> host:port that workers share; the sockets are bound but never listen.
        own: setting -> host:port of this process alone; the sockets are ready to listen.

    Raises:
        ConfigError: naming every port that cannot be had.
    """
    held: dict[str, socket.socket] = {}
    problems: list[str] = []
    try:
        for name, listen in {**shared, **own}.items():
            try:
                held[name] = _held(resolve(name, listen), reuse_port=name in shared)
            except ConfigError as error:
                problems += [f"{error.source}: {problem}" for problem in error.problems]
            except OSError as error:
                problems.append(f"{name}: {_explain(listen, error)}")
        if problems:
            raise ConfigError("ports", problems)
        yield held
    finally:
        for bound in held.values():
            bound.close()


def address_of(bound: socket.socket) -> Address:
    """Where a socket is bound."""
    host, port, *_ = bound.getsockname()
    return Address(host=str(host), port=int(port))


def _held(address: Address, *, reuse_port: bool) -> socket.socket:
    if reuse_port and address.port != 0:
        # A listener of anyone else makes this fail; connections that linger after a restart do not (SO_REUSEADDR).
        _bound(address, socket.SO_REUSEADDR).close()
    return _bound(address, socket.SO_REUSEPORT if reuse_port else socket.SO_REUSEADDR)


def _bound(address: Address, option: int) -> socket.socket:
    bound = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        if address.family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind((address.host, address.port))
    except OSError:
        bound.close()
        raise
    return bound


def _explain(listen: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{listen} is in use; stop the program that listens there or choose another port"
    if error.errno == errno.EACCES:
        return f"{listen} may not be bound by this user; choose a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listen} is not an address of this machine; choose one that is, or 0.0.0.0"
    return f"{listen} cannot be bound ({error.strerror})"
