"""One consistent look at a folder of CA files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from meshca import durable
from meshca.upstream.ca_set import CACERTS, TLS, Layout
from meshca.upstream.cacerts_folder import Look, look
from tests.fakes.cacerts import Projected, cacerts, tls, write
from tests.fakes.pki import make_ca

ROOT = make_ca("root")
ONE, TWO = cacerts(make_ca("one", ROOT), roots=(ROOT,)), cacerts(make_ca("two", ROOT), roots=(ROOT,))
SECRET = tls(make_ca("one", ROOT), roots=(ROOT,))


def texts(seen: Look) -> dict[str, str]:
    """The contents as text."""
    return {name: data.decode() for name, data in seen.contents.items()}


class TestLayouts:
    """Which files are looked for."""

    @pytest.mark.parametrize(("files", "layout"), [(ONE, CACERTS), (SECRET, TLS)], ids=["cacerts", "tls"])
    def test_layout(self, tmp_path: Path, files: dict[str, str], layout: Layout) -> None:
        """Each layout is recognised and read whole."""
        write(tmp_path, files)
        seen = look(tmp_path)
        assert (seen.layout, texts(seen), seen.problems, seen.projected) == (layout, files, (), False)

    def test_tls_wins(self, tmp_path: Path) -> None:
        """When tls.crt is there, the other layout is not read."""
        write(tmp_path, {**ONE, **SECRET})
        assert look(tmp_path).layout == TLS

    @pytest.mark.parametrize("name", CACERTS.names)
    def test_missing_file(self, tmp_path: Path, name: str) -> None:
        """A missing file is named and the others are read."""
        write(tmp_path, {other: text for other, text in ONE.items() if other != name})
        seen = look(tmp_path)
        assert len(seen.contents) == 3
        [problem] = seen.problems
        assert problem == f"{name}: cannot be read (No such file or directory); put {name} there"

    def test_folder_that_may_not_be_entered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every file is a problem, with what to do about it, and none an error of ours."""
        write(tmp_path, ONE)

        def refuse(path: object, *_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(Path, "stat", refuse)
        monkeypatch.setattr(os, "open", refuse)
        problems = look(tmp_path).problems
        assert [problem.partition(": ")[0] for problem in problems] == list(CACERTS.names)
        assert all("(Permission denied); give it" in problem for problem in problems)

    def test_no_folder(self, tmp_path: Path) -> None:
        """Without the folder every file is missing."""
        assert len(look(tmp_path / "gone").problems) == 4


class TestModes:
    """Who may read the key."""

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601])
    def test_open_to_everyone(self, tmp_path: Path, mode: int) -> None:
        """A key that everyone can use is a problem, with the command that mends it."""
        write(tmp_path, ONE)
        (tmp_path / "ca-key.pem").chmod(mode)
        [problem] = look(tmp_path).problems
        assert problem.endswith(f"(mode {mode:04o}); run: chmod 600 {tmp_path}/ca-key.pem")

    @pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
    def test_ours_or_our_groups(self, tmp_path: Path, mode: int) -> None:
        """A key that only we or our group can read is accepted."""
        write(tmp_path, ONE)
        (tmp_path / "ca-key.pem").chmod(mode)
        assert look(tmp_path).problems == ()

    def test_symlink_to_an_open_file(self, tmp_path: Path) -> None:
        """A symlink of one's own making does not hide an open key."""
        write(tmp_path, ONE)
        (tmp_path / "ca-key.pem").replace(tmp_path / "real")
        (tmp_path / "real").chmod(0o644)
        (tmp_path / "ca-key.pem").symlink_to("real")
        assert len(look(tmp_path).problems) == 1

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
    def test_projected_volume(self, tmp_path: Path, mode: int) -> None:
        """In a volume that Kubernetes projects any mode is accepted: only the pod can look."""
        Projected(tmp_path / "v").swap(ONE, mode=mode)
        seen = look(tmp_path / "v")
        assert (seen.problems, seen.projected, texts(seen)) == ((), True, ONE)

    def test_gone_in_between(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that disappears after it was read is left to the next look."""
        write(tmp_path, ONE)
        real = Path.stat

        def vanish(path: Path, **how: bool) -> object:
            if path.name == "ca-key.pem":
                raise FileNotFoundError
            return real(path, **how)

        monkeypatch.setattr(Path, "stat", vanish)
        assert look(tmp_path).problems == ()


class TestChanges:
    """What tells that a folder has changed."""

    def test_equal(self, tmp_path: Path) -> None:
        """Two looks at one state are equal."""
        write(tmp_path, ONE)
        assert look(tmp_path).digest == look(tmp_path).digest

    @pytest.mark.parametrize("name", CACERTS.names)
    def test_any_file(self, tmp_path: Path, name: str) -> None:
        """A change of any file shows."""
        write(tmp_path, ONE)
        before = look(tmp_path).digest
        write(tmp_path, {**ONE, name: TWO[name] + "\n"})
        assert look(tmp_path).digest != before

    def test_mode(self, tmp_path: Path) -> None:
        """A key that was opened to everyone shows."""
        write(tmp_path, ONE)
        before = look(tmp_path).digest
        (tmp_path / "ca-key.pem").chmod(0o644)
        assert look(tmp_path).digest != before

    def test_swapped_while_reading(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A volume that is swapped in the middle of a look is looked at again: never half old, half new."""
        volume = Projected(tmp_path / "v")
        volume.swap(ONE)
        real = durable.read

        def swap_at_the_key(path: Path, missing: str) -> bytes:
            if path.name == "ca-key.pem" and volume.count == 1:
                volume.swap(TWO)
            return real(path, missing)

        monkeypatch.setattr(durable, "read", swap_at_the_key)
        assert texts(look(volume.folder)) == TWO

    def test_swapped_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A volume that is swapped during every look does not hold us for ever."""
        volume = Projected(tmp_path / "v")
        volume.swap(ONE)
        real = durable.read

        def swap_always(path: Path, missing: str) -> bytes:
            if path.name == "root-cert.pem":
                volume.swap(TWO if volume.count % 2 else ONE)
            return real(path, missing)

        monkeypatch.setattr(durable, "read", swap_always)
        assert (look(volume.folder).projected, volume.count) == (True, 1 + 5)

    def test_the_key_does_not_print(self, tmp_path: Path) -> None:
        """Contents are not in the repr."""
        write(tmp_path, ONE)
        assert "PRIVATE" not in repr(look(tmp_path))
