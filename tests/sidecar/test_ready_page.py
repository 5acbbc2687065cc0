"""The page that says when Envoy serves."""

from __future__ import annotations

from meshca.sidecar.bootstrap import build
from meshca.sidecar.ready_page import PATH, listener
from meshca.sidecar.service import ReadyPage
from tests.sidecar.services import service

PAGE = ReadyPage(port=15022)


def test_listens_where_it_is_told() -> None:
    """For the network: the kubelet asks from outside the pod."""
    place = listener(ReadyPage(port=15022, address="::"))["address"]["socket_address"]
    assert place == {"address": "::", "port_value": 15022}


def test_answers_one_path_by_itself() -> None:
    """And leads to no cluster."""
    http = listener(PAGE)["filter_chains"][0]["filters"][0]["typed_config"]
    [host] = http["route_config"]["virtual_hosts"]
    assert host["routes"] == [{"match": {"path": PATH}, "direct_response": {"status": 200}}]


def test_is_there_when_asked_for() -> None:
    """As the last listener of the bootstrap."""
    names = [
        [each["name"] for each in build(service(ready=page))["static_resources"]["listeners"]]
        for page in (None, PAGE)
    ]
    assert names[1] == [*names[0], "ready"]
