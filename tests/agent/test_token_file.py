"""Reading the workload's token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.agent.token_file import LONGEST, claimed_account, read_token
from meshca.errors import Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.secret import Secret


def token_of(claims: object) -> str:
    """An unsigned token with these claims."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


def test_white_space_around_the_token_is_dropped(tmp_path: Path) -> None:
    """Editors leave newlines."""
    (tmp_path / "token").write_text("  a.b.c\r\n")
    assert read_token(tmp_path / "token").reveal() == "a.b.c"


def test_the_token_is_read_anew_each_time(tmp_path: Path) -> None:
    """Through the symbolic links by which a kubelet replaces it."""
    for name in ("1", "2"):
        (tmp_path / name).write_text(f"token-{name}")
    (tmp_path / "token").symlink_to("1")
    assert read_token(tmp_path / "token").reveal() == "token-1"
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "token")
    assert read_token(tmp_path / "token").reveal() == "token-2"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="blank"),
        pytest.param(b"a b", id="two words"),
        pytest.param(b"a\nb", id="a newline inside, which would end the header"),
        pytest.param("t\u00f6ken".encode(), id="not ASCII"),
        pytest.param(b"a\x00b", id="NUL"),
        pytest.param(b"a" * (LONGEST + 1), id="too long"),
        pytest.param(b"a" * 1024 * 1024, id="1 MB"),
    ],
)
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    """Before it reaches a header."""
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        read_token(tmp_path / "token")
    assert caught.value.reason == "token_file"


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """Names the file and the option."""
    with pytest.raises(Unavailable, match="--token-file") as caught:
        read_token(tmp_path / "token")
    assert str(tmp_path / "token") in caught.value.detail


def test_a_folder_is_no_token(tmp_path: Path) -> None:
    """An operating system error is ours to explain."""
    with pytest.raises(Unavailable, match="Is a directory"):
        read_token(tmp_path)


def test_the_account_is_read_from_the_subject() -> None:
    """As Kubernetes writes it."""
    token = token_of({"sub": "system:serviceaccount:shop:web"})
    assert claimed_account(Secret(token)) == ServiceAccount(namespace="shop", name="web")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("opaque", id="not a JWT"),
        pytest.param("a.b", id="two parts"),
        pytest.param("a.!!!.c", id="not base64"),
        pytest.param("a.AAAA.c", id="not JSON"),
        pytest.param(token_of([]), id="no object"),
        pytest.param(token_of({}), id="no subject"),
        pytest.param(token_of({"sub": 7}), id="a number"),
        pytest.param(token_of({"sub": "system:serviceaccount:shop"}), id="no service account"),
        pytest.param(token_of({"sub": "system:serviceaccount:shop:web:x"}), id="five parts"),
        pytest.param(token_of({"sub": "system:serviceaccount:SHOP:web"}), id="upper case"),
        pytest.param("a." + base64.urlsafe_b64encode(b"[" * 60000).decode() + ".c", id="deeply nested"),
    ],
)
def test_other_tokens_claim_no_account(token: str) -> None:
    """A hint that cannot be read is no hint, and no error."""
    assert claimed_account(Secret(token)) is None


@given(st.text(max_size=200))
def test_reading_claims_never_raises(text: str) -> None:
    """Whatever is in the file."""
    claimed_account(Secret(text))
    claimed_account(Secret(f"a.{text}.b"))
