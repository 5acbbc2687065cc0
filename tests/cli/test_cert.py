"""`meshca cert` against a fake CA over real TLS."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typer.testing import CliRunner

from meshca.agent.chain import fingerprint
from meshca.cli.cert import command
from meshca.clock import SystemClock
from tests.fakes.ca import OWN, FakeCa, Mood, ServingCa, serving_ca
from tests.fakes.logs import captured_logs

app = typer.Typer()
app.command()(command)


@pytest.fixture(scope="module")
def serving() -> Iterator[ServingCa]:
    """A CA on a loop of its own, since the command has one too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serving_ca(FakeCa(SystemClock()))
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def flags(serving: ServingCa, tmp_path: Path) -> list[str]:
    """What is needed but for whom to trust."""
    serving.ca.mood = Mood.ISSUE
    (tmp_path / "root.pem").write_text(serving.ca.root.pem)
    (tmp_path / "token").write_text("a.b.c")
    return [
        "--endpoint",
        str(serving.token),
        "--token-file",
        str(tmp_path / "token"),
        "--out",
        str(tmp_path / "out"),
    ]


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_three_files_are_written(flags: list[str], tmp_path: Path, serving: ServingCa) -> None:
    """Key and certificate belong together; only the owner can read them."""
    code, out, _ = run(*flags, "--root", str(tmp_path / "root.pem"))
    assert code == 0
    assert out.startswith(f"{OWN}, valid until ")
    leaf = x509.load_pem_x509_certificates((tmp_path / "out" / "cert-chain.pem").read_bytes())[0]
    key = load_pem_private_key((tmp_path / "out" / "key.pem").read_bytes(), None)
    assert leaf.public_key() == key.public_key()
    assert (tmp_path / "out" / "root-cert.pem").read_text() == serving.ca.root.pem
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}


def test_scripts_get_json(flags: list[str], tmp_path: Path) -> None:
    """With the paths of the files."""
    code, out, _ = run(*flags, "--root", str(tmp_path / "root.pem"), "--output", "json")
    shown = json.loads(out)
    assert code == 0
    assert shown["spiffe_id"] == OWN
    assert shown["key"] == str(tmp_path / "out" / "key.pem")
    assert set(shown) == {"spiffe_id", "serial", "not_before", "not_after", "key", "cert_chain", "root_cert"}


@pytest.mark.parametrize("kind", ["fingerprint", "system"])
def test_other_pins_do_as_well(
    flags: list[str], tmp_path: Path, serving: ServingCa, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root comes from the wire, or this machine vouches for the channel."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    pin = ["--system-roots"] if kind == "system" else ["--fingerprint", fingerprint(serving.ca.root.certificate)]
    assert run(*flags, *pin)[0] == 0
    assert (tmp_path / "out" / "root-cert.pem").read_text() == serving.ca.root.pem


def test_rsa_keys_by_choice(flags: list[str], tmp_path: Path) -> None:
    """Of 2048 bits."""
    assert run(*flags, "--root", str(tmp_path / "root.pem"), "--key-type", "rsa-2048")[0] == 0
    key = load_pem_private_key((tmp_path / "out" / "key.pem").read_bytes(), None)
    assert getattr(key, "key_size", 0) == 2048


def test_wrong_usage_ends_with_2_and_every_problem(tmp_path: Path) -> None:
    """Nothing is sent, nothing written."""
    code, out, err = run(
        "--endpoint", "nowhere", "--token-file", "t", "--out", str(tmp_path / "out"), "--lifetime", "7"
    )
    assert (code, out) == (2, "")
    assert err.count("\n  - ") == 3
    assert not (tmp_path / "out").exists()


def test_two_pins_are_one_too_many(flags: list[str]) -> None:
    """Exit 2."""
    code, _, err = run(*flags, "--system-roots", "--fingerprint", "x")
    assert code == 2
    assert "exactly one of --root" in err


@pytest.mark.parametrize(
    ("mood", "part"),
    [(Mood.REFUSE, "ca_unauthenticated"), (Mood.DOWN, "ca_unavailable"), (Mood.WRONG_KEY, "wrong_key")],
)
def test_a_failure_ends_with_1_and_one_line(
    flags: list[str], tmp_path: Path, serving: ServingCa, mood: Mood, part: str
) -> None:
    """No traceback, no file."""
    serving.ca.mood = mood
    with captured_logs():  # of the CA in this process
        code, out, err = run(*flags, "--root", str(tmp_path / "root.pem"))
    assert (code, out) == (1, "")
    assert part in err
    assert err.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_empty_system_roots_end_with_1_and_one_line(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which file it is, and what to do."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    code, out, err = run(*flags, "--system-roots")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "empty.pem hold no certificate" in err


def test_a_folder_that_cannot_be_made_ends_with_2(flags: list[str], tmp_path: Path, serving: ServingCa) -> None:
    """Before a certificate is asked for."""
    asked = len(serving.ca.asked)
    code, _, err = run(*flags[:-1], str(tmp_path / "token" / "out"), "--root", str(tmp_path / "root.pem"))
    assert code == 2
    assert "--out" in err
    assert len(serving.ca.asked) == asked


def test_a_full_disk_ends_with_1(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's reason."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = run(*flags, "--root", str(tmp_path / "root.pem"))
    assert code == 1
    assert "No space left on device" in err
