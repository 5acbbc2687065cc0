"""Facts about metrics across processes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from meshca import metrics
from meshca.app import metrics_dir
from tests.real.mounts import on_small_disk


def run(code: str, folder: Path, name: str) -> str:
    """Run code in a process that shares the folder."""
    program = "from pathlib import Path\nfrom datetime import UTC, datetime\nfrom meshca import metrics\n" + code
    environment = {**os.environ, metrics.DIRECTORY_VARIABLE: str(folder), metrics.PROCESS_VARIABLE: name}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


ISSUED = "metrics.decided('issued', authenticator='jwks', key_type='ec-p256', reason='', seconds=0.003)\n"
RENDER = "print(metrics.render(Path({!r})).decode())"
COUNT = 'meshca_certificates_total{authenticator="jwks",key_type="ec-p256",reason="",result="issued"}'


def test_processes_are_summed(tmp_path: Path) -> None:
    """The page sums what every process counted."""
    run(ISSUED, tmp_path, "w0")
    run(ISSUED * 2, tmp_path, "w1")
    page = run(RENDER.format(str(tmp_path)), tmp_path, "parent")
    assert f"{COUNT} 3.0" in page
    assert "meshca_issuance_seconds_count 3.0" in page


def test_restarted_process_goes_on_counting(tmp_path: Path) -> None:
    """A process that takes the name of one that ended continues its counters."""
    run(ISSUED, tmp_path, "w0")
    run(ISSUED, tmp_path, "w0")
    assert f"{COUNT} 2.0" in run(RENDER.format(str(tmp_path)), tmp_path, "parent")


def test_gauges_of_a_dead_process_are_forgotten(tmp_path: Path) -> None:
    """Streams of a process that ended are not counted any more; what it issued is."""
    run(ISSUED + "metrics.streams.labels('sds').inc()", tmp_path, "w0")
    run("metrics.streams.labels('sds').inc()", tmp_path, "w1")
    code = f"metrics.forget('w0', Path({str(tmp_path)!r}))\n" + RENDER.format(str(tmp_path))
    page = run(code, tmp_path, "parent")
    assert 'meshca_streams{kind="sds"} 1.0' in page
    assert f"{COUNT} 1.0" in page


def test_earliest_expiry_is_shown(tmp_path: Path) -> None:
    """Of several serving certificates the first to end is shown."""
    for name, day in (("w0", 2), ("w1", 1)):
        run(f"metrics.expires('serving', datetime(1970, 1, {day}, tzinfo=UTC))", tmp_path, name)
    page = run(RENDER.format(str(tmp_path)), tmp_path, "parent")
    assert 'meshca_certificate_expiry_timestamp_seconds{kind="serving"} 0.0' in page


def test_a_state_without_a_root_never_ends(tmp_path: Path) -> None:
    """An alarm that compares with now stays quiet."""
    run("metrics.roots_expire({'active': datetime(1970, 1, 2, tzinfo=UTC), 'tainted': None})", tmp_path, "parent")
    page = run(RENDER.format(str(tmp_path)), tmp_path, "parent")
    assert 'meshca_root_expiry_timestamp_seconds{state="active"} 86400.0' in page
    assert 'meshca_root_expiry_timestamp_seconds{state="tainted"} +Inf' in page


def test_names_are_ours() -> None:
    """Every metric's name begins with meshca_."""
    table = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    names = [metric.name for value in table for metric in value.describe()]
    assert len(names) >= 10
    assert all(name.startswith("meshca_") for name in names)


def test_expires_sets_seconds_since_1970() -> None:
    """Expiry is shown in seconds since 1970."""
    metrics.expires("root", datetime(1970, 1, 1, 0, 1, tzinfo=UTC))
    assert metrics.certificate_expiry.labels("root")._value.get() == pytest.approx(60)


def test_variable_names_agree() -> None:
    """The folder's module and the metrics name the same environment variables."""
    assert metrics_dir.DIRECTORY_VARIABLE == metrics.DIRECTORY_VARIABLE
    assert metrics_dir.PROCESS_VARIABLE == metrics.PROCESS_VARIABLE


def test_space_is_reserved(tmp_path: Path) -> None:
    """A full disk must be an error, and not SIGBUS at some later write: no file of metrics is sparse."""
    run(ISSUED, tmp_path, "w0")
    files = list(tmp_path.iterdir())
    assert files
    assert all(file.stat().st_blocks * 512 >= file.stat().st_size for file in files)


GROWING = """
import sys
from prometheus_client import values
made = values.MmapedDict(sys.argv[1])
for number in range(100_000):
    try:
        made.write_value(f"{number:0200}", 1.0, 0.0)
    except OSError as error:
        print(number, error.strerror)
        break
made.write_value(f"{0:0200}", 2.0, 0.0)
print(made.read_value(f"{0:0200}")[0])
"""


@pytest.mark.real("mounts")
def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """Series that exist go on counting."""
    program = [sys.executable, "-c", "from meshca import metrics\n" + GROWING, str(tmp_path / "counter_x.db")]
    done = subprocess.run(
        on_small_disk(tmp_path, 1024, ["env", f"{metrics.DIRECTORY_VARIABLE}={tmp_path}", *program]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0].endswith("No space left on device")
    assert done.stdout.splitlines()[1] == "2.0"
