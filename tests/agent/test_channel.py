"""Channels to the CA; that they verify is shown in test_ca_client.py."""

from __future__ import annotations

import pytest

from meshca.agent.channel import open_channel
from meshca.agent.target import Target


def test_a_channel_without_roots_is_never_opened() -> None:
    """The library would use the web's roots instead."""
    with pytest.raises(ValueError, match="roots"):
        open_channel(Target(host="127.0.0.1", port=1), roots=b"", server_name="")
