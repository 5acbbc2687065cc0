"""Where intermediates are kept, as it is configured."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.config.loader import validated
from meshca.errors import ConfigError

TOKEN = {"module": "/usr/lib/hsm.so", "token": "meshca", "pin_file": "/pin"}


def checked(**changes: Any) -> None:
    """A server whose upstream is Vault, in a cluster unless told otherwise."""
    cluster = changes.pop("cluster", {})
    vault = {
        "kind": "vault",
        "address": "https://vault",
        "login": {"token": {"file": "/token"}},
        "roots": {"accept": "any"},
        **changes,
    }
    validated({"upstream": vault, **({} if cluster is None else {"kubernetes": cluster})}, "test")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"custody": "memory"},
        {"custody": "secret"},
        {"custody": "secret", "custody_secret": "meshca-one", "custody_seal_file": "/seal"},
        {"custody": "pkcs11", "custody_token": TOKEN},
    ],
)
def test_good(changes: dict[str, Any]) -> None:
    """Each custody is taken."""
    checked(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"custody_secret": "one"}, "custody_secret: only for custody: secret"),
        ({"custody_seal_file": "/seal", "custody": "memory"}, "custody_seal_file: only for custody: secret"),
        ({"custody": "secret", "cluster": None}, "upstream.custody: secret needs the section kubernetes"),
        ({"custody": "secret", "custody_secret": "One_"}, "custody_secret"),
        ({"custody": "attic"}, "custody"),
        ({"custody": "pkcs11"}, "custody_token and custody: pkcs11 belong together"),
        ({"custody_token": TOKEN}, "custody_token and custody: pkcs11 belong together"),
        ({"custody": "pkcs11", "custody_token": TOKEN, "key_type": "rsa"}, "RSA is not made in a token"),
    ],
)
def test_bad(changes: dict[str, Any], said: str) -> None:
    """What does not fit is told by its field."""
    with pytest.raises(ConfigError, match=said):
        checked(**changes)
