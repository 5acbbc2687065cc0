"""One pod with the sidecar."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given

from meshca.sidecar.bootstrap import build
from meshca.sidecar.inject_pod import inject
from meshca.sidecar.inject_settings import BOOTSTRAP, INBOUND, INJECT, INJECTED, Settings, Sidecars, Wishes
from meshca.sidecar.service import DEFAULT_AGENT_SOCKET, AdminPort, AgentSocket, ReadyPage
from tests.sidecar.manifests import APP, IN, PODS, SETTINGS, Tree, pod, settings
from tests.sidecar.services import service

PLAIN = settings(sidecars=Sidecars.PLAIN)
NEWER = settings(version="2.0.0", image="meshca:2.0.0", endpoint_mtls="", run_as_user=1000)
OURS = ("meshca-agent", "meshca-envoy")


def injected(given: Any, choice: Settings = SETTINGS) -> Tree:
    """A pod that does not decline."""
    new = inject(given, "shop", choice)
    assert new is not None
    return new


def names(spec: Tree, key: str) -> list[str]:
    """Of a list."""
    return [each["name"] for each in spec.get(key) or []]


def without_ours(given: Tree) -> Tree:
    """A pod with all that injection adds taken out again; empty and missing are one."""
    bare = copy.deepcopy(given)
    for key in (INJECTED, BOOTSTRAP):
        del bare["metadata"]["annotations"][key]
    for key in ("containers", "initContainers", "volumes"):
        kept = [each for each in bare["spec"].pop(key, None) or [] if not each["name"].startswith("meshca-")]
        if kept:
            bare["spec"][key] = kept
    return bare


def without_nothing(given: Tree) -> Tree:
    """A pod whose empty lists are left out."""
    return given | {"spec": {key: value for key, value in given["spec"].items() if value or key == "nodeSelector"}}


def test_native_sidecars_come_first() -> None:
    """Before the pod's own init containers, which may call others, too."""
    spec = injected(pod(initContainers=[{"name": "migrate"}]))["spec"]
    assert (names(spec, "initContainers"), names(spec, "containers")) == ([*OURS, "migrate"], ["app"])


def test_plain_sidecars_come_last() -> None:
    """So that `kubectl logs` still means the application."""
    spec = injected(pod(), PLAIN)["spec"]
    assert (names(spec, "initContainers"), names(spec, "containers")) == ([], ["app", *OURS])


def test_the_bootstrap_is_that_of_envoy_config() -> None:
    """With the pod's ports, its service account, and the ready page."""
    annotations = injected(pod(IN, serviceAccountName="web"))["metadata"]["annotations"]
    wanted = service(
        outbound=(),
        source=AgentSocket(path=DEFAULT_AGENT_SOCKET),
        admin=AdminPort(port=15000),
        ready=ReadyPage(port=15022),
    )
    assert yaml.safe_load(annotations[BOOTSTRAP]) == build(wanted)


def test_the_record_says_what_was_done() -> None:
    """For those who look at the pod later."""
    record = json.loads(injected(pod())["metadata"]["annotations"][INJECTED])
    assert record == {
        "version": "1.2.3",
        "sidecars": "native",
        "trustDomain": "cluster.local",
        "inbound": ["8443:8080"],
        "outbound": [],
    }


def test_declined() -> None:
    """Whatever else it says, and whatever is in the way."""
    assert inject(pod({INJECT: "false", INBOUND: "x"}, hostNetwork=True), "shop", SETTINGS) is None


def test_defaults_of_the_flags() -> None:
    """For pods that name no ports."""
    choice = settings(defaults=Wishes(inbound=("9443:9080",)))
    assert injected(pod({}), choice)["spec"]["initContainers"][1]["ports"][0]["containerPort"] == 9443


@pytest.mark.parametrize(
    "missing", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"annotations": None}}]
)
def test_no_annotations_yet(missing: Tree) -> None:
    """They are made; metadata comes first, as people write it."""
    choice = settings(defaults=Wishes(inbound=("1:2",)))
    new = injected({**missing, "spec": {"containers": [APP]}}, choice)
    assert (list(new), set(new["metadata"]["annotations"])) == (["metadata", "spec"], {INJECTED, BOOTSTRAP})


@pytest.mark.parametrize(
    ("context", "choice", "user"),
    [
        (None, SETTINGS, None),
        ({"runAsUser": 1000}, SETTINGS, None),
        ({"runAsUser": 0}, SETTINGS, 65532),
        ({"runAsUser": 0}, NEWER, 1000),
        (None, NEWER, 1000),
    ],
)
def test_user(context: Any, choice: Settings, user: int | None) -> None:
    """The pod's or the images' own; never root, even if the pod is."""
    made = injected(pod(securityContext=context), choice)["spec"]["initContainers"][:2]
    assert [each["securityContext"].get("runAsUser") for each in made] == [user, user]


def test_an_addition_of_somebody_stays_in_its_place() -> None:
    """An init container put before ours by hand is still before them after an update."""
    spec = injected(pod())["spec"]
    spec["initContainers"].insert(0, {"name": "first"})
    again = injected({**injected(pod()), "spec": spec}, NEWER)["spec"]
    assert names(again, "initContainers") == ["first", *OURS]


@given(PODS)
def test_twice_is_once(given: Tree) -> None:
    """Native and plain."""
    for choice in (SETTINGS, PLAIN):
        once = injected(given, choice)
        assert injected(once, choice) == once


@given(PODS)
def test_the_last_injection_counts(given: Tree) -> None:
    """An older one leaves nothing behind, whichever way it was done."""
    for first in (SETTINGS, PLAIN):
        for second in (NEWER, PLAIN, SETTINGS):
            again = injected(injected(given, first), second)
            assert without_nothing(again) == without_nothing(injected(given, second))


@given(PODS)
def test_nothing_of_the_pod_is_changed(given: Tree) -> None:
    """Without our things it is what it was, and so is what was given."""
    before = copy.deepcopy(given)
    for choice in (SETTINGS, PLAIN):
        assert without_ours(injected(given, choice)) == without_nothing(given)
    assert given == before
