"""Reads the server's configuration: a YAML file, then environment variables, then the models.

`MESHCA__SECTION__KEY=value` overrides one key; the value is read as YAML. Every problem is listed at once with
its path. Relative paths are relative to the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshca import durable
from meshca.config import strict_yaml
from meshca.config.model import Model
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError

PREFIX = "MESHCA__"
_ADMIN_VARIABLES = frozenset({f"{PREFIX}DATA_DIR", f"{PREFIX}LISTEN__ADMIN"})
M = TypeVar("M", bound=Model)


def load_config(path: Path | None, environ: Mapping[str, str]) -> ServerConfig:
    """The configuration that a file and the environment describe.

    Args:
        path: the YAML file; None for defaults and environment only.
        environ: environment variables; only those that begin with MESHCA__ are read.

    Raises:
        ConfigError: with every problem found.
    """
    source = str(path) if path else "configuration"
    tree = _overridden(path, environ)
    try:
        config = validated(tree, source)
    except ConfigError as error:
        raise ConfigError(source, [_named(problem, environ) for problem in error.problems]) from None
    return _anchored(config, path.parent.absolute()) if path else config


def load_admin_socket(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the server of a configuration listens for its administrator.

    Everything else in it may be wrong: who edits it badly must still be able to ask the server that runs on.

    Args:
        path: the YAML file; None for defaults and environment only.
        environ: environment variables.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or one of the two keys that matter is wrong.
    """
    needed = {name: value for name, value in environ.items() if name.upper() in _ADMIN_VARIABLES}
    tree = _overridden(path, needed)
    listen = tree.get("listen")
    wanted = {"data_dir": tree["data_dir"]} if "data_dir" in tree else {}
    if isinstance(listen, dict) and "admin" in listen:
        wanted["listen"] = {"admin": listen["admin"]}
    config = validated(wanted, str(path) if path else "configuration")
    return (_anchored(config, path.parent.absolute()) if path else config).admin_socket


def validated(tree: Mapping[str, Any], source: str) -> ServerConfig:
    """The tree of a file as a typed value.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        return ServerConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(source, [_explain(detail) for detail in error.errors()]) from None


def changed(config: M, changes: dict[str, object], source: str) -> M:
    """The same model with keys whose values come from elsewhere than its file.

    Raises:
        ConfigError: it is not valid so.
    """
    try:
        return type(config).model_validate(config.model_dump() | changes)
    except ValidationError as error:
        raise ConfigError(source, [_words(detail) for detail in error.errors()]) from None


def _overridden(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """The tree of a file, with what the environment says in place of what it says."""
    tree = _read(path) if path else {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            _override(tree, name, value)
    return tree


def _read(path: Path) -> dict[str, Any]:
    tree = strict_yaml.load(durable.read_text(path), str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(str(path), ["expected keys at the top level, such as `trust_domain: cluster.local`"])
    return tree


def _override(tree: dict[str, Any], name: str, value: str) -> None:
    *sections, key = name.removeprefix(PREFIX).lower().split("__")
    node = tree
    for section in sections:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(name, [f"{section} is not a section"])
        node = child
    node[key] = strict_yaml.load(value, name)


def _named(problem: str, environ: Mapping[str, str]) -> str:
    """With the variable that the key comes from, if it comes from one."""
    name = PREFIX + problem.partition(":")[0].replace(".", "__").upper()
    found = next((given for given in environ if given.upper() == name and given.startswith(PREFIX)), None)
    return f"{problem} (set by the environment variable {found})" if found else problem


def _explain(detail: ErrorDetails) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "the file"
    return f"{place}: {_words(detail)}"


def _words(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    return f"{message[:1].lower()}{message[1:]}"


def _anchored(model: M, folder: Path) -> M:
    """The same model with every relative path below a folder."""
    changes: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        anchored = _anchored_value(value, folder)
        if anchored is not value:
            changes[name] = anchored
    return model.model_copy(update=changes) if changes else model


def _anchored_value(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return value if value.is_absolute() else folder / value
    if isinstance(value, Model):
        return _anchored(value, folder)
    if isinstance(value, tuple):
        changed = tuple(_anchored_value(item, folder) for item in value)
        return changed if changed != value else value
    return value
