"""Names of keys in tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import ConfigError
from meshca.keystore.token_uri import Token, from_uri, to_uri

TOKEN = Token(module=Path("/usr/lib/hsm.so"), label="our token", pin_file=Path("/run/pin"))
URI = "pkcs11:token=our%20token;id=%0A%FF?module-path=/usr/lib/hsm.so&pin-source=file:/run/pin"
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00/"), min_size=1)


def test_form() -> None:
    """It is a URI of RFC 7512."""
    assert to_uri(TOKEN, "0aff") == URI


@given(label=texts, module=texts, pin=texts, id_=st.binary(min_size=1, max_size=40))
def test_round_trip(label: str, module: str, pin: str, id_: bytes) -> None:
    """What was named is read again."""
    token = Token(module=Path("/") / module, label=label, pin_file=Path("/") / pin)
    assert from_uri(to_uri(token, id_.hex())) == (token, id_.hex())


@pytest.mark.parametrize(
    "text", ["", "PIN", URI.replace("pkcs11", "file"), URI + "&more", URI.replace("%0A", "%0"), URI + "\n"]
)
def test_no_name(text: str) -> None:
    """Anything else is no name, and is not shown: it could be a key."""
    with pytest.raises(ConfigError, match="expected a key in PEM") as refused:
        from_uri(text)
    assert not text or text not in str(refused.value)
