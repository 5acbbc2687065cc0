"""Checks the lock files: pinned by hash, no addresses, and every dependency of pyproject.toml is in them.

Asks no index: `make lock` writes the files, this reads them.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(
    r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[0-9][0-9A-Za-z.!+]*)(?: ; (?P<marker>[^\\]+?))?"
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def names(requirements: list[str]) -> set[str]:
    """The normalised names (PEP 503) of requirements as pyproject.toml spells them."""
    found = {re.match(r"[A-Za-z0-9._-]+", line) for line in requirements}
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def problems_of(lock: Path, wanted: set[str]) -> list[str]:
    """One line for each breach in one file."""
    found: list[str] = []
    hashes: dict[str, int] = {}
    name = ""
    for number, line in enumerate(lock.read_text().splitlines(), start=1):
        text = line.removesuffix("\\").strip()
        if text.startswith("#") and "://" not in text:
            continue
        if line.startswith(" ") and name and HASH.fullmatch(text):
            hashes[name] += 1
        elif not line.startswith(" ") and (match := PIN.fullmatch(text)):
            name = match["name"]
            hashes.setdefault(name, 0)
        else:
            found.append(f"{lock.name}:{number}: expected name==version or a SHA-256; run `make lock`")
    found += [f"{lock.name}: {name} has no hash; run `make lock`" for name, count in hashes.items() if not count]
    found += [f"{lock.name}: {name} is missing; run `make lock`" for name in sorted(wanted - hashes.keys())]
    return found


def problems(root: Path) -> list[str]:
    """One line for each breach."""
    tree = tomllib.loads((root / "pyproject.toml").read_text())
    runtime = names(tree["project"]["dependencies"])
    extras = [name for group in tree["project"]["optional-dependencies"].values() for name in group]
    development = [name for group in tree["dependency-groups"].values() for name in group]
    folder = root / "requirements"
    return [
        *problems_of(folder / "runtime.txt", runtime),
        *problems_of(folder / "dev.txt", runtime | names([*extras, *development])),
        *problems_of(folder / "installer.txt", names((folder / "installer.in").read_text().split())),
    ]


def main() -> None:
    """Print every breach; exit 1 if there is one."""
    found = problems(ROOT)
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
