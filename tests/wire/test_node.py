"""What is kept of a node message."""

from __future__ import annotations

import pytest
from envoy.config.core.v3 import base_pb2
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import BadRequest
from meshca.wire.node import MAX_PIDS, MAX_WORDS, Node, Report, read_node, write_report

reports = st.builds(
    Report,
    grade=st.sampled_from(["envoy", "agent", ""]),
    pending_pids=st.lists(st.integers(0, 2**31 - 1), max_size=20).map(tuple),
    held_up=st.text(max_size=MAX_WORDS),
    leaf=st.just("") | st.integers(1, 2**160 - 1).map("{:x}".format),
)


@given(report=reports, instance=st.text("0123456789abcdef", max_size=32))
def test_report_survives_the_wire(report: Report, instance: str) -> None:
    """What an agent writes, the CA reads."""
    message = base_pb2.Node(id="n", cluster="c", metadata=write_report(report, instance))
    copy = base_pb2.Node.FromString(message.SerializeToString())
    assert read_node(copy) == Node(id="n", cluster="c", instance=instance, report=report)


def test_long_words_are_cut_short() -> None:
    """They are kept with the adoption record."""
    message = base_pb2.Node(id="n", metadata=write_report(Report(held_up="x" * 10_000)))
    assert read_node(message).report.held_up == "x" * MAX_WORDS


def test_node_without_a_report() -> None:
    """Envoys report nothing; their own metadata is not looked at."""
    message = base_pb2.Node(id="n")
    message.metadata.update({"other": {"grade": "envoy"}})
    assert read_node(message) == Node(id="n", report=Report())


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"grade": "perfect"}, id="unknown grade"),
        pytest.param({"pending_pids": [-1]}, id="negative pid"),
        pytest.param({"pending_pids": [1.5]}, id="fractional pid"),
        pytest.param({"pending_pids": [2.0**31]}, id="huge pid"),
        pytest.param({"pending_pids": [float("nan")]}, id="no number"),
        pytest.param({"pending_pids": list(range(MAX_PIDS + 1))}, id="too many pids"),
        pytest.param({"leaf": "0F"}, id="serial in another spelling"),
        pytest.param({"leaf": "f" * 41}, id="serial too long"),
        pytest.param({"instance": "web"}, id="instance in another spelling"),
        pytest.param({"instance": "f" * 33}, id="instance too long"),
    ],
)
def test_report_of_another_shape_is_refused(value: dict[str, object]) -> None:
    """By name of the field."""
    message = base_pb2.Node(id="n")
    message.metadata.update({"meshca": value})
    with pytest.raises(BadRequest) as refusal:
        read_node(message)
    assert (refusal.value.reason, "metadata.meshca" in refusal.value.detail) == ("node", True)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda v: (
            st.lists(v) | st.dictionaries(st.sampled_from(["grade", "pending_pids", "leaf", "instance", "x"]), v)
        ),
        max_leaves=8,
    )
)
def test_any_report_is_read_or_refused(value: object) -> None:
    """Nothing else happens, whatever the types."""
    message = base_pb2.Node(id="n")
    message.metadata.update({"meshca": value})
    try:
        node = read_node(message)
    except BadRequest as refusal:
        assert refusal.reason == "node"  # noqa: PT017 - either outcome is right
    else:
        assert node.id == "n"


@pytest.mark.parametrize("field", ["id", "cluster"])
def test_long_names_are_refused(field: str) -> None:
    """They end up in logs and records."""
    with pytest.raises(BadRequest):
        read_node(base_pb2.Node(**{field: "x" * 513}))
