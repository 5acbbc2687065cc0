"""The table of faults in the page about Vault, made from the one table of the program.

python -m tests.docs.vault_faults    writes it into the page
"""

from __future__ import annotations

from pathlib import Path

from meshca.upstream.vault.faults import TABLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "vault.md"
BEGIN, END = "<!-- faults:", "<!-- end of faults -->"


def table() -> str:
    """One row for each fault."""
    heading = "| fault | what happened | passes by itself | what mends it |\n|---|---|---|---|\n"
    return heading + "".join(
        f"| `{fault}` | {row.meaning} | {'yes' if row.passes else 'no'} | {row.remedy} |\n"
        for fault, row in TABLE.items()
    )


def parts(page: str) -> tuple[str, str, str]:
    """The page up to the table, the table, and what follows."""
    before, _, rest = page.partition(BEGIN)
    comment, _, rest = rest.partition("\n")
    now, _, after = rest.partition(END)
    return f"{before}{BEGIN}{comment}\n", now, f"{END}{after}"


if __name__ == "__main__":
    before, _, after = parts(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(f"{before}\n{table()}\n{after}", encoding="utf-8")
