"""What an object of ours looks like in the cluster now: its text as a hash, and who else wrote to it.

Server-side apply keeps in `managedFields` which manager owns which field. Two installations of meshca have the
same manager name, so each also leaves its own name in an annotation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshca.kube.api import Tree

MANAGER: Final = "meshca"
WRITTEN_BY: Final = "meshca.io/written-by"  # annotation: namespace and lease of the installation


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One object as it is.

    Attributes:
        digest: of the text, `digest_of`; empty when there is none.
        good: whether everything else that is ours in it is as it should be.
        owner: another manager that owns the text; empty when none does.
        installation: of meshca that wrote it last, empty when none did.
        version: its resourceVersion.
    """

    digest: str
    good: bool
    owner: str
    installation: str
    version: str

    def writer(self, installation: str) -> str:
        """Who else wrote the text, as an administrator can find them; empty when it was this installation."""
        if self.owner:
            return self.owner
        if self.installation != installation:
            return f"another meshca ({self.installation or 'unnamed'})"
        return ""

    def follows(self, version: str) -> bool:
        """Whether this is a later state than that of another version of the same object.

        Compared as numbers, which is defined since Kubernetes 1.35 (KEP-5504) and was so before.
        """
        if self.version.isdigit() and version.isdigit():
            return int(self.version) > int(version)
        return self.version != version


def read_held(item: Tree, path: Sequence[str], labels: Mapping[str, str]) -> Held:
    """What an object holds.

    Args:
        item: the object.
        path: to the text, such as ("data", "root-cert.pem").
        labels: that it should have.
    """
    metadata: Mapping[str, Any] = item["metadata"]
    text = _at(item, path)
    found = metadata.get("labels") or {}
    owners = [name for name in _owners(metadata, path) if name != MANAGER]
    return Held(
        digest=digest_of(text) if isinstance(text, str) else "",
        good=all(found.get(name) == value for name, value in labels.items()),
        owner=owners[-1] if owners else "",
        installation=str((metadata.get("annotations") or {}).get(WRITTEN_BY, "")),
        version=str(metadata.get("resourceVersion", "")),
    )


def digest_of(text: str) -> str:
    """What texts are compared by: keeping two thousand of them would be a waste."""
    return hashlib.sha256(text.encode()).hexdigest()


def _owners(metadata: Mapping[str, Any], path: Sequence[str]) -> Iterator[str]:
    """Managers of a field, the latest last."""
    entries = sorted(metadata.get("managedFields") or (), key=lambda entry: str(entry.get("time", "")))
    for entry in entries:
        if _at(entry.get("fieldsV1") or {}, [f"f:{name}" for name in path]) is not None:
            yield str(entry.get("manager", ""))[:128]


def _at(tree: Tree, path: Sequence[str]) -> object:
    found: object = tree
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
