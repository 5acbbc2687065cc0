"""The floor of this machine in this run: OpenSSL's P-256, one verification and one signature, per core."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

MESSAGE = b"\x5a" * 400  # about the size of a leaf's to-be-signed bytes
ROUNDS = 4000


def per_core_per_second() -> float:
    """How often one core verifies and signs in a second of its CPU time."""
    key = ec.generate_private_key(ec.SECP256R1())
    public, algorithm = key.public_key(), ec.ECDSA(hashes.SHA256())
    signature = key.sign(MESSAGE, algorithm)
    started = time.process_time()
    for _ in range(ROUNDS):
        public.verify(signature, MESSAGE, algorithm)
        key.sign(MESSAGE, algorithm)
    return ROUNDS / (time.process_time() - started)
