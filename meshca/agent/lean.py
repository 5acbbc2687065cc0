"""Starts the agent's process without a second OpenSSL, which would take some 5 MB beside every workload.

asyncio imports `ssl`, and hashlib `_hashlib`, if they can; both load the system's OpenSSL, though gRPC and
cryptography bring their own and the agent's event loop speaks no TLS. What really needs `ssl` imports it later, by
itself. This must never run in a process where somebody has imported asyncio before.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import cast

# hashlib's own implementations; some distributions build Python without them.
_HASHES = (("_md5",), ("_sha1",), ("_sha2", "_sha256"), ("_sha3",), ("_blake2",))


def import_asyncio_alone() -> bool:
    """Import asyncio and hashlib so that neither loads OpenSSL; False when it is too late for that."""
    if "asyncio" in sys.modules or "hashlib" in sys.modules or "ssl" in sys.modules:
        return False
    complete = all(any(importlib.util.find_spec(name) for name in names) for names in _HASHES)
    hidden = ("ssl", "_hashlib") if complete else ("ssl",)
    modules = cast("dict[str, object]", sys.modules)
    modules.update(dict.fromkeys(hidden))  # None makes an import fail: Python's import protocol
    try:
        for name in ("asyncio", "hashlib", "hmac"):
            importlib.import_module(name)
    finally:
        for name in hidden:
            modules.pop(name, None)
    return True
