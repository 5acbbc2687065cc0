"""Reading policy files and folders of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshca.app.policy_files import read_policy_files
from meshca.errors import ConfigError


def problems_of(*paths: Path) -> tuple[str, ...]:
    """What reading is refused with."""
    with pytest.raises(ConfigError) as caught:
        read_policy_files(paths)
    return caught.value.problems


def test_folder(tmp_path: Path) -> None:
    """A folder's YAML and JSON files are read, hidden and other ones are not."""
    for name in ("b.yaml", "a.yml", "c.json", ".hidden.yaml", "README.md"):
        (tmp_path / name).write_text(name)
    assert read_policy_files([tmp_path]) == {str(tmp_path / name): name for name in ("a.yml", "b.yaml", "c.json")}


def test_mounted_config_map(tmp_path: Path) -> None:
    """Files that are links into a hidden folder are read, as Kubernetes mounts them."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "a.yaml").write_text("x")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert read_policy_files([tmp_path]) == {str(tmp_path / "a.yaml"): "x"}


def test_a_named_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    """A file given by name needs no suffix."""
    (tmp_path / "rules").write_text("x")
    assert read_policy_files([tmp_path / "rules"]) == {str(tmp_path / "rules"): "x"}


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is named."""
    gone = tmp_path / "gone.yaml"
    assert problems_of(gone) == (f"{gone}: cannot be read (No such file or directory); name an existing file",)


def test_dangling_link(tmp_path: Path) -> None:
    """A file of a folder that cannot be read is an error, because its policies may deny."""
    (tmp_path / "a.yaml").symlink_to("nowhere")
    assert len(problems_of(tmp_path)) == 1


def test_not_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are refused."""
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    assert problems_of(tmp_path) == (f"{tmp_path / 'a.yaml'}: is not UTF-8 text",)


def test_folder_inside(tmp_path: Path) -> None:
    """A folder inside would be believed to be read, so it is refused."""
    (tmp_path / "more").mkdir()
    assert problems_of(tmp_path) == (
        f"{tmp_path / 'more'}: folders inside are not read; put its files beside the others",
    )


def test_unlistable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be listed is an error."""

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(f"{tmp_path}: cannot be listed (Permission denied); give it")


@pytest.mark.parametrize("named", [True, False], ids=["named", "in a folder"])
def test_named_pipe(tmp_path: Path, *, named: bool) -> None:
    """A named pipe among the files is refused at once, not waited for."""
    os.mkfifo(tmp_path / "a.yaml")
    assert problems_of(tmp_path / "a.yaml" if named else tmp_path) == (
        f"{tmp_path / 'a.yaml'}: is no regular file",
    )


def test_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that can be listed and not looked at are problems of their own, one each."""
    (tmp_path / "a.yaml").write_text("x")

    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "stat", refuse)
    (problem,) = problems_of(tmp_path / "a.yaml")
    assert problem.startswith(f"{tmp_path / 'a.yaml'}: cannot be read (Permission denied); give it")
