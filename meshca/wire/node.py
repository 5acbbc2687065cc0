"""Who an xDS client says it is, and what an agent reports of its Envoys. Unverified, all of it.

The first message of a stream carries the node; Envoy leaves it out of the others. Only what we use is kept:
Envoy's node lists each of its extensions, tens of kilobytes that an idle stream must not hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from google.protobuf import struct_pb2

from meshca.errors import BadRequest

FIELD: Final = "meshca"  # key of node.metadata that holds an agent's report
MAX_ID = 512  # characters of a node id or cluster name
MAX_PIDS = 256  # pending Envoys that one report may name
MAX_WORDS = 512  # characters of what holds something up that are kept

Grade = Literal["envoy", "agent", ""]
_INSTANCE: Final = re.compile(r"[0-9a-f]{0,32}")
_SERIAL: Final = re.compile(r"|[1-9a-f][0-9a-f]{0,39}")  # as the ledger spells it, or none
_GRADES: Final[dict[str, Grade]] = {"envoy": "envoy", "agent": "agent", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """On whose word an agent acknowledges, or why it neither acknowledges nor refuses yet.

    Attributes:
        grade: `envoy` when each connected Envoy that asked acknowledged, `agent` when none is connected,
            empty when the client said nothing.
        pending_pids: process ids of Envoys that did not answer in time, or that hold it up.
        held_up: why the newest push is not in force though nobody refused it; such a report comes with a nonce
            that is void, so that the protocol hears nothing. Empty in an acknowledgement.
        leaf: serial, lower-case hexadecimal, of the certificate that is in force at each connected Envoy, or at
            the agent itself while there is none; empty when that is not said.
    """

    grade: Grade = ""
    pending_pids: tuple[int, ...] = ()
    held_up: str = ""
    leaf: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the client calls itself; a label for logs and adoption records, never a proof.

    Attributes:
        id, cluster: as in every xDS node.
        instance: which agent of its pod it is, the same over its restarts; empty when it does not say.
        report: of an agent.
    """

    id: str = ""
    cluster: str = ""
    instance: str = ""
    report: Report = field(default_factory=Report)


def read_node(unverified: Any) -> Node:  # noqa: ANN401 - envoy.config.core.v3.Node has no type information
    """Keep of a node message what we use.

    Raises:
        BadRequest: reason `node`, when a field is too long or the report is not of the expected shape.
    """
    if len(unverified.id) > MAX_ID or len(unverified.cluster) > MAX_ID:
        raise BadRequest("node", f"node id and cluster must be at most {MAX_ID} characters")
    metadata = unverified.metadata.fields
    ours = metadata[FIELD] if FIELD in metadata else struct_pb2.Value()
    report, instance = _read_report(ours), _read_instance(ours)
    return Node(id=unverified.id, cluster=unverified.cluster, instance=instance, report=report)


def write_report(report: Report, instance: str = "") -> struct_pb2.Struct:
    """Report and instance as node metadata; `read_node` of a node with it gives both back."""
    metadata = struct_pb2.Struct()
    said = {"held_up": report.held_up, "leaf": report.leaf, "instance": instance}
    fields = {name: words for name, words in said.items() if words}
    metadata.update({FIELD: {"grade": report.grade, "pending_pids": list(report.pending_pids), **fields}})
    return metadata


def _read_report(value: struct_pb2.Value) -> Report:
    fields = value.struct_value.fields
    grade = _GRADES.get(fields["grade"].string_value) if "grade" in fields else ""
    pids = tuple(_pid(pid) for pid in fields["pending_pids"].list_value.values) if "pending_pids" in fields else ()
    if grade is None or len(pids) > MAX_PIDS:
        raise BadRequest("node", f"metadata.{FIELD} must be grade envoy or agent, and at most {MAX_PIDS} pids")
    held_up = fields["held_up"].string_value[:MAX_WORDS] if "held_up" in fields else ""
    leaf = fields["leaf"].string_value if "leaf" in fields else ""
    if not _SERIAL.fullmatch(leaf):
        raise BadRequest("node", f"metadata.{FIELD}.leaf must be a serial in lower-case hexadecimal")
    return Report(grade=grade, pending_pids=pids, held_up=held_up, leaf=leaf)


def _read_instance(value: struct_pb2.Value) -> str:
    fields = value.struct_value.fields
    instance: str = fields["instance"].string_value if "instance" in fields else ""
    if not _INSTANCE.fullmatch(instance):
        raise BadRequest("node", f"metadata.{FIELD}.instance must be at most 32 lower-case hexadecimal digits")
    return instance


def _pid(value: struct_pb2.Value) -> int:
    number = value.number_value
    if not 0 <= number < 2**31 or number != int(number):
        raise BadRequest("node", f"metadata.{FIELD}.pending_pids must be process ids")
    return int(number)
