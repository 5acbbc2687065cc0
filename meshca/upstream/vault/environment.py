"""What of `VAULT_*` counts: it fills in what the configuration leaves out, and is told when it loses.

Tokens, keys and the wish to skip verification are never taken from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshca.config.loader import changed
from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError

_FIELDS: Final = {"VAULT_ADDR": "address", "VAULT_NAMESPACE": "namespace", "VAULT_CACERT": "ca_file"}
_NEVER: Final = {
    "VAULT_TOKEN": "give a file to upstream.login.token",
    "VAULT_CLIENT_CERT": "give the file to upstream.login.cert",
    "VAULT_CLIENT_KEY": "give the file to upstream.login.cert",
    "VAULT_CAPATH": "give one file to upstream.ca_file",
    "VAULT_SKIP_VERIFY": "the server is always verified, by upstream.ca_file or upstream.certificate_sha256",
}


def completed(config: VaultConfig, environ: Mapping[str, str]) -> tuple[VaultConfig, list[str]]:
    """The configuration with what the environment adds, and what is to be said about the rest of it.

    Raises:
        ConfigError: there is no address, or a value of the environment is not valid.
    """
    notes = [f"{name} is set and not used; {instead}" for name, instead in _NEVER.items() if name in environ]
    for name, field in _FIELDS.items():
        if not (value := environ.get(name)):
            continue
        winner = _winner(config, field)
        if winner is None:
            config = changed(config, {field: value}, name)
        elif str(getattr(config, winner)) != value.rstrip("/"):
            notes.append(f"{name} is set to something else than upstream.{winner}; the configuration wins")
    if config.address is None:
        raise ConfigError("upstream", ["address: expected https://host:port of Vault, here or in VAULT_ADDR"])
    return config, notes


def _winner(config: VaultConfig, field: str) -> str | None:
    """The field of the configuration that leaves a variable no say."""
    rivals = (field, "certificate_sha256") if field == "ca_file" else (field,)
    return next((rival for rival in rivals if getattr(config, rival) is not None), None)
