"""What `meshca demo` shows, in this order: identities from tokens, and a policy on them that Envoys enforce."""

from __future__ import annotations

from pathlib import Path

from meshca.app.demo import answers, changes, mesh, rotation
from meshca.app.demo.mesh import Mesh
from meshca.app.demo.parts import Start
from meshca.app.demo.topology import CHARGES, REFUNDS


async def play(start: Start, binary: Path, began: float) -> list[str]:
    """Show everything; the mesh runs on until the caller's stack is closed.

    Args:
        start: what starting needs.
        binary: the Envoy to run.
        began: steady time at which the user asked for the demo.

    Returns:
        What to try while the mesh runs, as lines of a shell.

    Raises:
        Unavailable: reason `demo_step`, naming the step that failed.
    """
    built = await mesh.build(start, binary)
    await answers.allowed(built, began)
    await answers.forbidden(built)
    await answers.refused(built)
    await changes.edited_live(built)
    await changes.renewed(built)
    await changes.sealed(built)
    await rotation.rotated(built)
    return to_try(built)


def to_try(built: Mesh) -> list[str]:
    """Commands for the curious, while the demo is kept running."""
    places = built.start.places
    admin = f"--socket {built.ca.admin}"
    return [
        f"curl -i http://127.0.0.1:{built.web_port}{CHARGES}  # as shop/web: 200",
        f"curl -i http://127.0.0.1:{built.web_port}{REFUNDS}  # as shop/web: 403",
        f"curl -i http://127.0.0.1:{built.intruder_port}{CHARGES}  # as other/intruder: 403",
        f"${{EDITOR:-vi}} {places.policy}  # live within a second",
        f"curl -s --unix-socket {places.of(built.web.account) / 'admin.sock'} http://envoy/certs",
        f"meshca status {admin}",
        f"meshca root status {admin}",
        f"meshca ledger list {admin}",
    ]
