"""How several runs become figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import REQUIRED, figure, figures, percentile, table, write


def test_a_figure_is_minimum_median_and_maximum() -> None:
    """Three numbers, whatever the order of the runs."""
    assert figure([3.0, 1.0, 2.0]) == {"min": 1.0, "median": 2.0, "max": 3.0}


def test_percentiles_are_values_that_were_measured() -> None:
    """The nearest rank, and the last value for the whole."""
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (51.0, 100.0, 100.0)


def test_the_table_has_a_line_for_each_figure() -> None:
    """Under one heading."""
    lines = table({"a.b": figure([1.0]), "c": figure([1234.5])}).splitlines()
    assert [line.split()[0] for line in lines] == ["figure", "a.b", "c"]
    assert "1,234.500" in lines[2]


def test_the_json_is_the_figures(tmp_path: Path) -> None:
    """Every key with its three numbers."""
    path = tmp_path / "results.json"
    write({"a": figure([1.0, 2.0])}, path)
    assert json.loads(path.read_text()) == {"a": {"min": 1.0, "median": 1.5, "max": 2.0}}


class TestFigures:
    """Readers of the JSON count on its keys, and on each figure being of every run."""

    def test_each_key_of_each_run(self) -> None:
        """More keys than the required ones are welcome."""
        found = figures({key: [2.0, 1.0] for key in (*REQUIRED, "more")}, 2)
        assert found == {key: {"min": 1.0, "median": 1.5, "max": 2.0} for key in (*REQUIRED, "more")}

    @pytest.mark.parametrize("key", REQUIRED)
    def test_a_missing_key(self, key: str) -> None:
        """Whichever it is."""
        with pytest.raises(ValueError, match=f"not measured: {key}"):
            figures({each: [1.0] for each in REQUIRED if each != key}, 1)

    @pytest.mark.parametrize("values", [[], [1.0], [1.0] * 4], ids=["never", "once", "too often"])
    def test_a_figure_of_another_number_of_runs(self, values: list[float]) -> None:
        """One sample shown as minimum, median and maximum is no figure."""
        samples = {key: [1.0] * 3 for key in REQUIRED} | {"sds.kb_per_stream": values}
        with pytest.raises(ValueError, match=r"each of 3 runs: sds\.kb_per_stream"):
            figures(samples, 3)
