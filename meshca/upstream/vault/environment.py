"""What of `VAULT_*` counts: it fills in what the configuration leaves out, and is told when it loses.

Tokens, keys and the wish to skip verification are never taken from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshca.config.vault import VaultConfig
from meshca.errors import ConfigError

_FIELDS: Final = {"VAULT_ADDR": "address", "VAULT_NAMESPACE": "namespace", "VAULT_CACERT": "ca_file"}
_NEVER: Final = ("VAULT_TOKEN", "VAULT_SKIP_VERIFY", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_CAPATH")


def completed(config: VaultConfig, environ: Mapping[str, str]) -> tuple[VaultConfig, list[str]]:
    """The configuration with what the environment adds, and what is to be said about the rest of it.

    Raises:
        ConfigError: there is no address, or a value of the environment is not valid.
    """
    notes = [
        f"{name} is set and not used: see upstream.login and upstream.ca_file"
        for name in _NEVER
        if name in environ
    ]
    added: dict[str, str] = {}
    for name, field in _FIELDS.items():
        if not (value := environ.get(name)):
            continue
        mine = getattr(config, field)
        if field == "ca_file" and config.certificate_sha256 is not None:
            mine = config.certificate_sha256
        if mine is None:
            added[field] = value
        elif str(mine) != value:
            notes.append(f"{name} is set to something else than upstream.{field}; the configuration wins")
    try:
        whole = VaultConfig.model_validate(config.model_dump() | added)
    except ValueError:
        names = [name for name, field in _FIELDS.items() if field in added]
        raise ConfigError(
            "upstream", [f"{' or '.join(names)} of the environment is not valid; see the field"]
        ) from None
    if whole.address is None:
        raise ConfigError("upstream", ["address: expected https://host:port of Vault, here or in VAULT_ADDR"])
    return whole, notes
