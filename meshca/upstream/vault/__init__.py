"""Vault or OpenBao as the upstream: it signs our intermediate, and its root key never leaves it (ADR 20)."""
