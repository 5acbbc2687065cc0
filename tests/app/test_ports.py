"""Facts about making sure of ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from meshca.app.ports import Address, address_of, reserve, resolve
from meshca.errors import ConfigError

ANY = "127.0.0.1:0"


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port on which someone listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def listening(address: Address) -> socket.socket:
    """What a worker does: listen on a reserved port with SO_REUSEPORT."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((address.host, address.port))
    listener.listen()
    return listener


def test_any_port_is_a_real_one_for_all_workers() -> None:
    """With port 0 the reserved port is real, and several workers can listen on it."""
    with reserve({"token": ANY}, {}) as held:
        address = address_of(held["token"])
        assert address.port != 0
        with listening(address), listening(address):
            socket.create_connection((address.host, address.port)).close()


def test_reserved_port_refuses_until_a_worker_listens() -> None:
    """The reservation itself takes no connection."""
    with reserve({"token": ANY}, {}) as held:
        address = address_of(held["token"])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.host, address.port))


def test_own_port_can_listen() -> None:
    """A port of the parent alone is ready to listen."""
    with reserve({}, {"http": ANY}) as held:
        held["http"].listen()
        socket.create_connection(held["http"].getsockname()).close()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_port_in_use_is_named(taken: socket.socket, *, shared: bool) -> None:
    """A port on which someone listens is refused by the setting's name."""
    listen = {"listen.token": str(address_of(taken))}
    with pytest.raises(ConfigError) as caught, reserve(listen if shared else {}, {} if shared else listen):
        pass
    (problem,) = caught.value.problems
    assert problem.startswith(f"listen.token: {address_of(taken)} is in use")


def test_port_of_a_second_server_is_in_use() -> None:
    """A port that another server has reserved is refused, even while its workers are down."""
    with reserve({"token": ANY}, {}) as held:
        listen = {"token": str(address_of(held["token"]))}
        with pytest.raises(ConfigError), reserve(listen, {}):
            pass


def test_port_of_a_second_servers_workers_is_in_use() -> None:
    """A port on which workers listen with SO_REUSEPORT is refused."""
    with reserve({"token": ANY}, {}) as held:
        address = address_of(held["token"])
        with listening(address), pytest.raises(ConfigError), reserve({"token": str(address)}, {}):
            pass


def test_every_problem_is_listed(taken: socket.socket) -> None:
    """All ports that cannot be had are named at once."""
    shared = {"token": str(address_of(taken)), "mtls": "203.0.113.1:1"}
    own = {"http": "no-such-host.invalid:1"}
    with pytest.raises(ConfigError) as caught, reserve(shared, own):
        pass
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["token", "mtls", "http"]


def test_port_is_free_afterwards() -> None:
    """After the block the port can be reserved again."""
    with reserve({"token": ANY}, {}) as held:
        listen = {"token": str(address_of(held["token"]))}
    with reserve(listen, {}):
        pass


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
    ],
)
def test_reachable(listen: str, expected: str) -> None:
    """A client on this machine reaches "every interface" by loopback."""
    assert str(resolve("x", listen).reachable) == expected


def test_name_is_resolved() -> None:
    """A name of this machine becomes its numeric address."""
    assert resolve("x", "localhost:80").host in {"127.0.0.1", "::1"}


def test_ipv6_can_be_reserved() -> None:
    """An IPv6 address is reserved like any other."""
    with reserve({"token": "[::1]:0"}, {}) as held:
        assert address_of(held["token"]).host == "::1"
