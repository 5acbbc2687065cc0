"""What the Secrets of a CA hold at one moment, judged: which roots there are, which sign, and what is wrong.

Pure. The Secret that counts (`ca_secret.choose`) is what the operator wants. Beside it there may be a root that
was made to follow it, in the Secret `<last of the names>-next`; and Secrets that do not count any more, whose
roots can sign until another may. Of those a bad one is nobody's business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.secret_source import StoredSecret
from meshca.config.upstream import SecretConfig
from meshca.errors import Refused
from meshca.identity.spiffe_id import TrustDomain
from meshca.upstream import ca_secret
from meshca.upstream.sound_root import root_of, sound


def next_name(names: Sequence[str]) -> str:
    """The Secret of the root that shall follow."""
    return f"{names[-1]}-next"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A sound CA in a Secret.

    Attributes:
        secret: it.
        material: of the signing certificate; of the root itself when `is_root`.
        root: at the end of its path.
        is_root: whether the signing certificate is the root, so that it signs intermediates of ours only.
    """

    secret: StoredSecret
    material: SigningMaterial
    root: x509.Certificate
    is_root: bool

    @property
    def id(self) -> str:
        """What the root is called."""
        return certificate_id(self.root)

    @property
    def made(self) -> bool:
        """Whether it is a root that Istio or we have made, and not one that an operator plugged in."""
        return self.is_root and ca_secret.is_made(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything that was found.

    Attributes:
        counts: the Secret that counts, good or bad; None when none holds anything.
        main: what it holds, when it is sound.
        following: the root that was made to follow, when it is sound.
        others: what Secrets hold that do not count.
        problems: by the Secret's name, those of the two that matter.
        spare: the Secret for a root that shall follow, good or bad; None when there is none.
    """

    counts: StoredSecret | None
    main: Held | None
    following: Held | None
    others: tuple[Held, ...]
    problems: Mapping[str, Sequence[str]]
    spare: StoredSecret | None

    @property
    def held(self) -> Mapping[str, Held]:
        """All that is sound, by the root's id; what counts wins."""
        found = [one for one in (self.main, self.following, *self.others) if one is not None]
        return {one.id: one for one in reversed(found)}

    @property
    def named(self) -> Sequence[x509.Certificate]:
        """The roots that are wanted, each once."""
        main = () if self.main is None else (self.main.root, *self.main.material.roots)
        following = () if self.following is None else (self.following.root,)
        return tuple(dict.fromkeys((*main, *following)))

    @property
    def told(self) -> Sequence[str]:
        """All problems, those of a second Secret with its name."""
        first, *more = self.problems.items()
        return [*first[1], *(f"Secret {name}: {line}" for name, lines in more for line in lines)]


def read_secrets(
    there: Sequence[StoredSecret],
    names: Sequence[str],
    company: Collection[x509.Certificate],
    trust_domain: TrustDomain,
    now: datetime,
) -> Reading:
    """Judge what was read.

    Args:
        there: the Secrets.
        names: of those among which one counts.
        company: roots that are in use already.
        trust_domain: that is signed for.
        now: the present instant.
    """
    reader = _Reader(trust_domain, now, list(company))
    spare = next((secret for secret in there if secret.name == next_name(names)), None)
    mains = [secret for secret in there if secret is not spare]
    counts = ca_secret.choose(mains)
    main = reader.read(counts)
    following = reader.read(spare)
    problems = {name: list(found) for name, found in reader.problems.items()}
    others = [reader.read(secret) for secret in mains if secret is not counts]
    return Reading(
        counts=counts,
        main=main,
        following=following,
        others=tuple(filter(None, others)),
        problems=problems,
        spare=spare,
    )


def next_write(reading: Reading, keep: Collection[str]) -> StoredSecret | None:
    """What to write next so that roots that are not to be kept are forgotten; None when that is done.

    One write at a time, each of which leaves every root that is to be kept in one of the Secrets, so that whoever
    is killed between two is followed by whoever reads what he left. What an operator plugged in is never written.
    """
    main, following = reading.main, reading.following
    if following is None:
        return None
    if following.id not in keep or (main is not None and main.id == following.id):
        return ca_secret.emptied(following.secret)
    if main is not None and main.made and main.id not in keep:
        key = following.material.key
        return ca_secret.of_root(main.secret.name, following.root, key, into=main.secret)
    return None


def check_rotates(config: SecretConfig, place: str) -> None:
    """Whether roots may be made to follow others.

    Raises:
        Refused: reason `upstream`: the configuration forbids it.
    """
    if not config.rotate:
        todo = f"set it, and let our account create and update Secret {next_name(config.names)} in {place}"
        raise Refused("upstream", f"upstream.rotate is off, so no root is made to follow another; {todo}")


def to_be_followed(reading: Reading, same_key: str, place: str) -> Held | None:
    """The root that another may follow; None when none is sound.

    Args:
        reading: of the Secrets.
        same_key: the id of a root whose key shall be used again; empty for a new key.
        place: of the Secrets, for people.

    Raises:
        Refused: reason `upstream`: the CA is plugged in, there is no root `same_key`, or a root of another kind is
            there to follow already.
    """
    main, following = reading.main, reading.following
    if main is None:
        return None
    if not main.made:
        todo = "put a signing certificate below the new root there, and name both roots there"
        where = f"Secret {main.secret.name} in {place}"
        raise Refused("upstream", f"the CA in {where} is plugged in, and no root is made beside it; {todo}")
    if same_key not in {"", main.id}:
        problem = f"there is no root {same_key} whose key could be used again; name {main.id}"
        raise Refused("upstream", problem)
    if following is None or following.id == main.id:
        return main
    shares = following.material.key.public_key() == main.material.key.public_key()
    if shares != bool(same_key):
        which = "the key of the one before" if shares else "a key of its own"
        problem = f"Secret {following.secret.name} holds a root already that has {which} (sha256 {following.id})"
        raise Refused("upstream", f"{problem}; abort its rotation first")
    return main


class _Reader:
    """Reads one Secret after the other; each has those before in its company."""

    def __init__(self, trust_domain: TrustDomain, now: datetime, company: list[x509.Certificate]) -> None:
        self.problems: dict[str, list[str]] = {}
        self._trust_domain = trust_domain
        self._now = now
        self._company = company

    def read(self, secret: StoredSecret | None) -> Held | None:
        """What it holds; None when that is nothing or not sound."""
        if secret is None or not secret.contents:
            return None
        problems: list[str] = []
        ca = ca_secret.read(secret, problems)
        material = sound(
            ca,
            problems,
            company=self._company,
            trust_domain=self._trust_domain,
            now=self._now,
            root_keeps_apart=True,
        )
        if material is None:
            self.problems[secret.name] = problems
            return None
        self._company += material.roots
        root = root_of(material)
        return Held(secret=secret, material=material, root=root, is_root=root == material.certificate)
