"""What an object of ours holds, read from its tree."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.kube.held import Held, digest_of, read_held

PATH = ("data", "root-cert.pem")
LABELS = {"istio.io/config": "true"}


def item(**changes: Any) -> dict[str, Any]:
    """A ConfigMap as we leave it."""
    metadata = {
        "resourceVersion": "7",
        "labels": {**LABELS, "more": "x"},
        "annotations": {"meshca.io/written-by": "a/b"},
        "managedFields": [owner("meshca")],
    }
    return {"metadata": {**metadata, **changes}, "data": {"root-cert.pem": "x"}}


def owner(manager: str, key: str = "root-cert.pem", time: str = "") -> dict[str, Any]:
    """One entry of managedFields."""
    return {"manager": manager, "time": time, "fieldsV1": {"f:data": {f"f:{key}": {}}}}


def test_ours() -> None:
    """Everything is as we left it."""
    expected = Held(digest=digest_of("x"), good=True, owner="", installation="a/b", version="7")
    assert read_held(item(), PATH, LABELS) == expected


def test_missing_text() -> None:
    """An object without the key has no digest."""
    assert read_held({**item(), "data": {"other": "x"}}, PATH, LABELS).digest == ""
    assert read_held({"metadata": {}}, PATH, LABELS).digest == ""


@pytest.mark.parametrize("labels", [None, {}, {"istio.io/config": "false"}])
def test_missing_label(labels: dict[str, str] | None) -> None:
    """Without the label it is not good."""
    assert not read_held(item(labels=labels), PATH, LABELS).good


def test_owner() -> None:
    """The latest manager of the text that is not us; managers of other fields do not count."""
    entries = [
        owner("late", time="2026-01-02"),
        owner("early", time="2026-01-01"),
        owner("x", "other", "2026-02-01"),
    ]
    assert (
        read_held(item(managedFields=[*entries, owner("meshca", time="2026-03-01")]), PATH, LABELS).owner == "late"
    )


@pytest.mark.parametrize(
    ("owner", "installation", "writer"),
    [
        ("pilot-discovery", "a/b", "pilot-discovery"),
        ("", "c/d", "another meshca (c/d)"),
        ("", "", "another meshca (unnamed)"),
        ("", "a/b", ""),
    ],
)
def test_writer(owner: str, installation: str, writer: str) -> None:
    """Who else wrote it, as an administrator can find them."""
    held = Held(digest="", good=True, owner=owner, installation=installation, version="1")
    assert held.writer("a/b") == writer


@pytest.mark.parametrize(("one", "two", "follows"), [("10", "9", True), ("9", "10", False), ("9", "9", False)])
def test_order(one: str, two: str, *, follows: bool) -> None:
    """Versions are numbers."""
    held = Held(digest="", good=True, owner="", installation="", version=one)
    assert held.follows(two) is follows


def test_opaque_versions() -> None:
    """One that is no number follows every other: too much is looked at, nothing is missed."""
    held = Held(digest="", good=True, owner="", installation="", version="abc")
    assert held.follows("9")
    assert not held.follows("abc")
