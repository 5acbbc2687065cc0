"""What a commit changes when a replica signs by another intermediate, and when one has ended.

Pure, as `planning`. Nobody must learn an intermediate, because leaves carry it: it goes from made to active at
once. One replica signs by one intermediate at a time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from cryptography import x509

from meshca.authority.drafting import Cause, Draft, Planned
from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import TRUSTED, Act, State
from meshca.authority.material import certificate_id, to_pem
from meshca.errors import Refused
from meshca.validity import ended

_MAY_END: Final = frozenset({State.ACTIVE, State.RETIRING, State.TAINTED})
# An active one ended so long ago is a replica's that is gone; a clock that is ahead by less ends nothing for good.
LONG_GONE: Final = timedelta(days=7)


def note_intermediate(
    lifecycle: Lifecycle, root: str, certificate: x509.Certificate, replica: str, cause: Cause
) -> Planned:
    """Note by what a replica signs from now on; what it signed by before retires. The same lifecycle when known.

    A root may sign itself: then there is no intermediate, and only what was before retires. One certificate may
    sign for many replicas; the record names the first of them.

    Args:
        lifecycle: the newest.
        root: the id of the root that it is below.
        certificate: of the signer.
        replica: who signs.
        cause: who asked.

    Raises:
        NotFound: reason `authority`: the root is not known.
        Refused: reason `root_not_trusted`, or `transition`: it is retired.
    """
    draft = Draft(lifecycle, cause)
    if draft.record(root).state not in TRUSTED:
        raise Refused("root_not_trusted", "what is signed below this root would be refused; distribute it first")
    signer = certificate_id(certificate)
    for before in lifecycle.of(Kind.INTERMEDIATE, State.ACTIVE):
        if before.replica == replica and before.id != signer:
            draft.act(before.id, Act.SUPERSEDE)
    if signer != root:
        _sign_by(draft, lifecycle.find(signer), _made(root, certificate, replica, cause))
    return draft.planned()


def retire_ended(lifecycle: Lifecycle, cause: Cause) -> Planned:
    """Retire every intermediate whose certificate has ended: no leaf below it lives longer."""
    draft = Draft(lifecycle, cause)
    for one in lifecycle.of(Kind.INTERMEDIATE, *_MAY_END):
        spared = LONG_GONE if one.state is State.ACTIVE else timedelta(0)
        if ended(x509.load_pem_x509_certificate(one.pem.encode()).not_valid_after_utc + spared, cause.at):
            draft.end(one.id)
    return draft.planned()


def _made(root: str, certificate: x509.Certificate, replica: str, cause: Cause) -> Record:
    return Record(
        id=certificate_id(certificate),
        kind=Kind.INTERMEDIATE,
        state=State.PREPARED,
        pem=to_pem(certificate),
        parent=root,
        since=cause.at,
        replica=replica,
    )


def _sign_by(draft: Draft, known: Record | None, made: Record) -> None:
    if known is None:
        draft.make(made)
        draft.act(made.id, Act.DISTRIBUTE)
        draft.act(made.id, Act.ACTIVATE)
    elif known.state is not State.ACTIVE:
        draft.act(known.id, Act.RESTORE)
        draft.signs_for(known.id, made.replica)
