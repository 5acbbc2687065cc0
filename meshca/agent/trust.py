"""Whom the agent believes: the first pin, until the CA's xDS stream teaches a bundle that replaces it.

A certificate answer that leads to a held root changes nothing; `issuer` says when one may. What was learnt is kept
on disk together with the pin it descends from, and is preferred after a restart for as long as the operator's pin
is the same. Nothing here ever returns "no verification" (docs/adr/0006).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cryptography import x509

from meshca.agent.bundle import Bundle, bundle_of, parse_bundle
from meshca.agent.chain import UNREADABLE, fingerprint, is_signer, verify_path
from meshca.agent.pin import Fingerprint, Pin, RootFile, SystemRoots, read_root_file, read_system_roots
from meshca.agent.state import State
from meshca.clock import Clock
from meshca.errors import MeshcaError, Unavailable
from meshca.log import log

RECORD = "trust"
Fetch = Callable[[], Awaitable[tuple[x509.Certificate, ...]]]


class Trust:
    """The roots for our channels to the CA, and the bundle that certificates are checked against.

    Args:
        pin: what the operator says.
        fetch: shows the certificates that the CA presents, unverified.
        clock: for the checks.
        state: keeps what was learnt; None keeps nothing.
        changed: called with each new bundle, the first included.
    """

    def __init__(
        self,
        pin: Pin,
        *,
        fetch: Fetch,
        clock: Clock,
        state: State | None = None,
        changed: Callable[[Bundle], None] = lambda _: None,
    ) -> None:
        self._pin = pin
        self._fetch = fetch
        self._clock = clock
        self._state = state
        self._changed = changed
        self._told: Bundle | None = None
        self._pinned: Bundle | None = None
        self._learnt, self._learnt_under = self._load()
        self._pinned_as = _name(pin) or self._learnt_under
        self._tell()

    @property
    def bundle(self) -> Bundle | None:
        """The roots of the mesh as we know them; None before first contact, when the pin does not hold them."""
        if self._learnt is not None and self._learnt_under == self._pinned_as:
            return self._learnt
        return self._pinned

    async def channel_roots(self) -> bytes:
        """PEM roots that the CA's own TLS certificate must lead to, read anew for each channel.

        Raises:
            Unavailable: reasons `root_file`, `system_roots`, `bad_bundle`, `wrong_fingerprint`, `untrusted_chain`.
        """
        if isinstance(self._pin, SystemRoots):
            return read_system_roots()
        if isinstance(self._pin, RootFile):
            bundle = self._read_root_file(self._pin)
        else:
            bundle = self.bundle or await self._find(self._pin)
        self._tell()
        return bundle.pem.encode()

    async def explain(self, error: MeshcaError) -> MeshcaError:
        """A refused handshake, with the root that the CA presents now; every other error as it is."""
        if error.reason != "ca_untrusted":
            return error
        try:
            presented = await self._fetch()
        except Unavailable:
            return error
        return Unavailable(error.reason, error.detail + self._advice(presented))

    def learn(self, bundle: Bundle) -> None:
        """Take a bundle that came over an authenticated channel and shares a root with the one held."""
        self._learnt, self._learnt_under = bundle, self._pinned_as
        self._tell()
        if self._state is not None:
            self._state.save(RECORD, {"pin": self._pinned_as, "roots": bundle.pem})

    @property
    def takes_first(self) -> bool:
        """Whether the first answer's roots are the first bundle: system roots vouch for the channel only."""
        return self.bundle is None and isinstance(self._pin, SystemRoots)

    def first(self, roots: Bundle) -> None:
        """Take the roots of an answer that was accepted with them; nothing happens where others are held."""
        if self.takes_first:
            self._pinned = roots
            self._tell()

    def _tell(self) -> None:
        if self.bundle is not None and self.bundle != self._told:
            self._told = self.bundle
            self._changed(self.bundle)

    def _read_root_file(self, pin: RootFile) -> Bundle:
        """Follow the file, unless something was learnt under this content; an unreadable one changes nothing.

        Raises:
            Unavailable: it was never good.
        """
        try:
            bundle = parse_bundle(read_root_file(pin.path), self._clock.now())
        except Unavailable as error:
            if self.bundle is None:
                raise
            log.warning("trust.root_file_refused", path=str(pin.path), reason=error.reason, detail=error.detail)
            return self.bundle
        name = f"file:{bundle.version}"
        if self._learnt is not None and name != self._learnt_under:
            log.warning("trust.pin_changed", path=str(pin.path))
        self._pinned, self._pinned_as = bundle, name
        return self.bundle or bundle

    async def _find(self, pin: Fingerprint) -> Bundle:
        """The root with the pinned fingerprint, from what the CA presents.

        Raises:
            Unavailable: `wrong_fingerprint` when it is not presented or no root; `untrusted_chain` when what is
                presented does not lead to it.
        """
        presented = await self._fetch()
        root = next((certificate for certificate in presented if fingerprint(certificate) == pin.sha256), None)
        if root is None or not _is_root(root):
            raise Unavailable(
                "wrong_fingerprint",
                "the CA does not present a root certificate with the pinned SHA-256 fingerprint; suspect the "
                f"network if that is one of the CA's roots{self._advice(presented)}",
            )
        verify_path(presented[0], presented[1:], [root], self._clock.now())
        self._pinned = bundle_of([root], self._clock.now())
        return self._pinned

    def _advice(self, unverified: Sequence[x509.Certificate]) -> str:
        """What to do about a root that is presented and not held; empty when there is none, or another fault."""
        root = self._presented_root(unverified)
        if root is None or (self.bundle is not None and root in self.bundle.certificates):
            return ""
        return (
            f"; it presents the root with SHA-256 {fingerprint(root)} now, unverified: compare that with `meshca "
            "root list` at the CA, and if the root was changed give the new one by --fingerprint or --root; what "
            "was learnt under the old one is then dropped"
        )

    def _presented_root(self, unverified: Sequence[x509.Certificate]) -> x509.Certificate | None:
        """The root that what is presented leads to by itself."""
        roots = [certificate for certificate in unverified if _is_root(certificate)]
        if not roots:
            return None
        try:
            return verify_path(unverified[0], unverified[1:], roots, self._clock.now())[-1]
        except Unavailable:
            return None

    def _load(self) -> tuple[Bundle | None, str]:
        record = self._state.load(RECORD) if self._state is not None else None
        if record is None or record.keys() != {"pin", "roots"}:
            return None, ""
        try:
            return parse_bundle(record["roots"], self._clock.now()), record["pin"]
        except MeshcaError as error:
            log.warning("trust.learnt_refused", reason=error.reason, detail=error.detail)
            return None, ""


def _name(pin: Pin) -> str:
    """How a pin is written beside what descends from it; a root file's name is its content, unknown until read."""
    if isinstance(pin, RootFile):
        return ""
    return f"sha256:{pin.sha256}" if isinstance(pin, Fingerprint) else "system"


def _is_root(certificate: x509.Certificate) -> bool:
    """Whether it is a CA that signed itself: an anchor that every TLS library accepts."""
    try:
        return is_signer(certificate) and certificate.issuer == certificate.subject
    except UNREADABLE:
        return False
