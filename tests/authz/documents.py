"""Policy objects as files have them, and what a set of files is refused with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshca.authz.model import Policy
from meshca.authz.parse import parse_files
from meshca.errors import ConfigError


def document(**changes: Any) -> dict[str, Any]:
    """A sound policy object with some keys changed; None removes one."""
    whole = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def document_text(**changes: Any) -> str:
    """The same as a file holds it."""
    return json.dumps(document(**changes))


def parse_one(**changes: Any) -> Policy:
    """The one policy of a file that holds one."""
    (policy,) = parse_files({"f.yaml": json.dumps(document(**changes))}).policies
    return policy


def problems_of(files: dict[str, str]) -> tuple[str, ...]:
    """The problems that a set of files is refused with."""
    with pytest.raises(ConfigError) as caught:
        parse_files(files)
    return caught.value.problems


def problems_with(**changes: Any) -> tuple[str, ...]:
    """The problems of one file with one object."""
    return problems_of({"f.yaml": json.dumps(document(**changes))})
