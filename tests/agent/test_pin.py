"""The first pin."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.agent import pin
from meshca.agent.pin import Fingerprint, read_root_file, read_system_roots
from meshca.errors import BadRequest, Unavailable

PLAIN = "0123456789abcdef" * 4
NO_PATHS = SimpleNamespace(cafile=None)  # what Python gives when OpenSSL's file does not exist
ROOTS = b"# ours\n-----BEGIN CERTIFICATE-----\n"
COLONS = ":".join(PLAIN[i : i + 2] for i in range(0, 64, 2)).upper()


@pytest.mark.parametrize("text", [PLAIN, PLAIN.upper(), COLONS, COLONS.lower(), f"sha256:{PLAIN}"])
def test_a_fingerprint_is_read_in_each_usual_form(text: str) -> None:
    """Plain, or as openssl prints it."""
    assert Fingerprint.parse(text) == Fingerprint(PLAIN)


@pytest.mark.parametrize(
    "text", ["", PLAIN[1:], PLAIN + "0", PLAIN + "\n", COLONS[:-1], COLONS.replace(":", " "), "g" * 64, "0:" * 64]
)
def test_what_is_no_sha256_is_refused(text: str) -> None:
    """A fingerprint cut short would match more than one root."""
    with pytest.raises(BadRequest, match="openssl x509"):
        Fingerprint.parse(text)


@given(st.text())
def test_any_text_is_a_fingerprint_or_refused(text: str) -> None:
    """And what is taken has one spelling."""
    try:
        parsed = Fingerprint.parse(text)
    except BadRequest:
        return
    assert Fingerprint.parse(parsed.sha256) == parsed


def test_a_missing_root_file_is_named(tmp_path: Path) -> None:
    """With the operating system's reason."""
    with pytest.raises(Unavailable, match="No such file"):
        read_root_file(tmp_path / "root.pem")


def test_system_roots_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE is how an administrator replaces them."""
    (tmp_path / "roots.pem").write_bytes(ROOTS)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    assert read_system_roots() == ROOTS


def test_system_roots_are_the_distributions_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that exists of the usual places."""
    (tmp_path / "bundle").write_bytes(ROOTS)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: NO_PATHS)
    monkeypatch.setattr(pin, "_SYSTEM_FILES", (str(tmp_path / "none"), str(tmp_path / "bundle")))
    assert read_system_roots() == ROOTS


@pytest.mark.parametrize("content", [b"", b"\n", b"garbage"])
def test_system_roots_without_a_certificate_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """The file was chosen: no other one is taken instead, gRPC's own least of all."""
    (tmp_path / "empty.pem").write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    with pytest.raises(Unavailable, match=r"empty\.pem hold no certificate") as caught:
        read_system_roots()
    assert caught.value.reason == "system_roots"


def test_a_machine_without_roots_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list compiled into gRPC is never used instead."""
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: NO_PATHS)
    monkeypatch.setattr(pin, "_SYSTEM_FILES", ())
    with pytest.raises(Unavailable, match="--fingerprint"):
        read_system_roots()
