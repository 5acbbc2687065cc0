"""Everything that a server reads before it starts, in one place: `meshca config check` runs exactly this.

All problems of all files are listed at once. Nothing here makes or changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from meshca import durable
from meshca.admission import parse as admission
from meshca.app.control import UseAdmission, UsePolicies
from meshca.app.policy_files import policy_files, read_policy_files
from meshca.authn.keys import read_keys
from meshca.authority.serving import read_names
from meshca.authz.fits import check_fits
from meshca.authz.model import PolicySet
from meshca.authz.parse import SOURCE, ParsedFiles, parse_changed
from meshca.config.loader import load_config
from meshca.config.server import ServerConfig
from meshca.delivery import policies_version
from meshca.errors import ConfigError, Unavailable
from meshca.log import log

NO_ISSUERS = "nobody can be proven by a token; name who issues them in authn.issuers, or add kubernetes: {}"
SHIPPED = "the rules shipped with meshca"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Authorization policies, read and found good; parsed once, since a large set takes seconds.

    Attributes:
        news: the files, as workers are told of them.
        parsed: what is in them.
        version: of the whole set.
    """

    news: UsePolicies
    parsed: ParsedFiles = field(default_factory=ParsedFiles, repr=False)
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration with the files that it names, read and found good.

    Attributes:
        config: the configuration.
        admission: the rule file.
        policies: the authorization policies.
    """

    config: ServerConfig
    admission: UseAdmission
    policies: Policies


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the configuration and every file that it names.

    Raises:
        ConfigError: with every problem of every file.
    """
    loaded = read_files(load_config(path, environ), str(path or "configuration"))
    if not loaded.config.authn.issuers and not _reviews(loaded.config):
        log.warning("authn.no_issuers", detail=NO_ISSUERS)
    return loaded


def read_files(config: ServerConfig, source: str) -> Loaded:
    """Read every file that a configuration names.

    Raises:
        ConfigError: with every problem of every file.
    """
    problems: list[str] = []
    rules = _tried(problems, lambda: read_admission(config))
    policies = _tried(problems, lambda: read_policies(config))
    _tried(problems, lambda: read_names(config.serving.names))
    _tried(problems, lambda: _check_keys(config))
    _tried(problems, lambda: _check_kubeconfig(config))
    if problems or rules is None or policies is None:
        raise ConfigError(source, problems)
    return Loaded(config=config, admission=rules, policies=policies)


def read_admission(config: ServerConfig) -> UseAdmission:
    """The admission rules, as text that has been parsed without a problem.

    Raises:
        ConfigError: the file cannot be read, or is not good.
    """
    file = config.admission.file
    news = (
        UseAdmission(text=durable.read_text(file), source=str(file))
        if file
        else UseAdmission(text=admission.shipped_text(), source=SHIPPED)
    )
    admission.parse(news.text, news.source, config.trust_domain)
    return news


def read_policies(config: ServerConfig, before: ParsedFiles | None = None) -> Policies:
    """The authorization policies, as texts that have been parsed without a problem.

    Args:
        config: names their folder.
        before: what was read last; files that are the same are not parsed again.

    Raises:
        ConfigError: a file cannot be read, or is not good.
    """
    folder = config.policies.dir
    news = UsePolicies(files={} if folder is None else read_policy_files(policy_files(folder)))
    parsed = parse_changed(news.files, config.policies.root_namespace, before or ParsedFiles())
    _check_selectors(config, parsed.policies)
    check_fits(parsed.policies, config.trust_domain)
    return Policies(news=news, parsed=parsed, version=policies_version(parsed.policies))


def _check_selectors(config: ServerConfig, policies: PolicySet) -> None:
    """A selector over labels that nobody proves would never hold, and a DENY would never deny."""
    if config.kubernetes is not None or any(issuer.labels_claim for issuer in config.authn.issuers):
        return  # a cluster's pods have labels
    problems = [
        f"{policy.namespace}/{policy.name}: spec.selector: no issuer in authn.issuers has a labels_claim, so no"
        " workload's labels are proven and this would never hold; leave the selector out, or name the claim"
        for policy in policies.policies
        if policy.selector
    ]
    if problems:
        raise ConfigError(SOURCE, problems)


def policy_paths(config: ServerConfig) -> list[Path]:
    """The policy files that are there now; none while the folder cannot be read."""
    if config.policies.dir is None:
        return []
    try:
        return policy_files(config.policies.dir)
    except ConfigError:
        return []


def admission_paths(config: ServerConfig) -> list[Path]:
    """The admission rule file, if one is configured."""
    return [config.admission.file] if config.admission.file else []


def admission_read(loaded: Loaded) -> dict[Path, str]:
    """The admission rule file, if one is configured, as it was read."""
    file = loaded.config.admission.file
    return {file: loaded.admission.text} if file else {}


def policies_read(loaded: Loaded) -> dict[Path, str]:
    """The policy files as they were read."""
    return {Path(name): text for name, text in loaded.policies.news.files.items()}


def _check_keys(config: ServerConfig) -> None:
    """Issuers' files must be there at start; those behind an address are fetched later."""
    problems: list[str] = []
    for issuer in config.authn.issuers:
        for file in filter(None, (issuer.keys.file, issuer.keys.ca_file)):
            _tried(problems, lambda file=file: durable.read(file, durable.NAME_A_FILE))  # type: ignore[misc] # mypy: lambda's default
        if issuer.keys.file and not problems:
            try:
                read_keys(durable.read(issuer.keys.file, durable.NAME_A_FILE))
            except Unavailable as error:
                problems.append(f"{issuer.keys.file}: {error.detail}")
    if problems:
        raise ConfigError("authn.issuers", problems)


def _reviews(config: ServerConfig) -> bool:
    return config.kubernetes is not None and config.kubernetes.token_review.enabled


def _check_kubeconfig(config: ServerConfig) -> None:
    """Must be there at start; whether the API server takes what it says is seen later."""
    if config.kubernetes is not None and config.kubernetes.kubeconfig is not None:
        durable.read(config.kubernetes.kubeconfig)


def _tried(problems: list[str], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except ConfigError as error:
        problems += [f"{error.source}: {problem}" for problem in error.problems]
        return None
