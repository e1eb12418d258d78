"""Sweeps: every setting once, kept in a file, and the table that they make."""

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit import experiment
from ddml_kit.cluster import Simulated
from ddml_kit.experiment import Table, combinations, sweep


class Runs:
    """A run that counts its calls: s * workers, and what the policy is called."""

    def __init__(self, fails=(), interrupt=None):
        self.calls, self.fails, self.interrupt = [], fails, interrupt

    def __call__(self, s, workers=1):
        if s == self.interrupt:
            raise KeyboardInterrupt
        self.calls.append((s, workers))
        if s in self.fails:
            raise ValueError(f"s can't be\n{s}")
        return {"seconds": s * workers / 4, "policy": "BSP" if s == 0 else "SSP"}


# ------------------------------------------------------------------------------------- grids


def test_every_combination_is_run_the_last_name_fastest():
    run = Runs()
    table = sweep(run, {"s": [0, 2], "workers": [1, 4]})
    assert run.calls == [(0, 1), (0, 4), (2, 1), (2, 4)]
    assert table.columns == ["s", "workers", "seconds", "policy"]
    assert table.rows[3] == {"s": 2, "workers": 4, "seconds": 2.0, "policy": "SSP"}


def test_a_single_value_and_a_list_of_settings():
    assert list(combinations({"policy": "BSP", "s": range(2)}).values()) == [
        {"policy": "BSP", "s": 0},
        {"policy": "BSP", "s": 1},
    ]
    run = Runs()
    sweep(run, [{"s": 1}, {"s": 3, "workers": 2}, {"workers": 2, "s": 3.0}])
    assert run.calls == [(1, 1), (3, 2)]


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
        min_size=1,
    )
)
def test_a_grid_has_the_product_of_its_lengths(grid):
    settings = list(combinations(grid).values())
    assert len(settings) == math.prod(map(len, grid.values()))
    assert all(setting[name] in grid[name] for setting in settings for name in grid)
    assert len({tuple(setting.values()) for setting in settings}) == len(settings)


@pytest.mark.parametrize(
    ("grid", "error", "sentence"),
    [
        ({}, ValueError, "a sweep needs a setting at least, got none"),
        ([], ValueError, "a sweep needs a setting at least, got none"),
        ({"s": []}, ValueError, "a value at least for each name, got none for 's'"),
        (
            {"s": [(1, 2)]},
            TypeError,
            r"a setting of a sweep must be a number or text, got s=\(1, 2",
        ),
        ({"s": [1j]}, TypeError, "a setting of a sweep must be a number or text, got s=1j"),
        ({"error": [1]}, ValueError, "no setting of a sweep may be called 'error'"),
    ],
)
def test_grids_that_cannot_be(grid, error, sentence, tmp_path):
    run = Runs()
    with pytest.raises(error, match=sentence):
        sweep(run, grid, path=tmp_path / "sweep.jsonl")
    assert run.calls == []


@pytest.mark.parametrize(
    ("returned", "error", "sentence"),
    [
        (3.0, TypeError, "run must return a dict of figures, got float"),
        ({"w": np.zeros(3)}, TypeError, "a figure of a sweep must be a number or text, got w=arr"),
        ({"s": 1.0}, ValueError, "a figure is named like a setting: s"),
        ({"error": ""}, ValueError, "no figure of a sweep may be called 'error'"),
    ],
)
def test_what_a_run_cannot_return(returned, error, sentence):
    with pytest.raises(error, match=sentence):
        sweep(lambda s: returned, {"s": [1, 2]})


def test_figures_of_numpy_are_numbers(tmp_path):
    def run(s):
        return {"a": np.float32(0.5), "b": np.int64(s), "c": np.array(True), "d": None}

    for _ in range(2):  # run, then read
        table = sweep(run, {"s": np.arange(2)}, path=tmp_path / "sweep.jsonl")
        assert table.rows[1] == {"s": 1, "a": 0.5, "b": 1, "c": True, "d": None}
        assert [type(value) for value in table.rows[1].values()][:4] == [int, float, int, bool]


# ----------------------------------------------------------------------------------- failures


def test_a_failing_run_is_a_row_and_the_others_go_on():
    table = sweep(Runs(fails=[1]), {"s": [0, 1, 2]})
    np.testing.assert_array_equal(table["seconds"], [0.0, math.nan, 0.5])
    assert list(table["error"]) == ["", "ValueError: s can't be 1", ""]


def test_a_failing_program_is_told_of_with_its_rank():
    def program(comm):
        assert comm.rank == 0, "only the first"

    table = sweep(lambda n: {"n_": len(Simulated(n).run(program).results)}, {"n": [1, 2]})
    assert "rank 1 failed" in table["error"][1]
    assert "only the first" in table["error"][1]


def test_a_failed_run_is_tried_again(tmp_path):
    path = tmp_path / "sweep.jsonl"
    sweep(Runs(fails=[1]), {"s": [0, 1]}, path=path)
    mended = Runs()
    table = sweep(mended, {"s": [0, 1]}, path=path)
    assert mended.calls == [(1, 1)]
    assert table.columns == ["s", "seconds", "policy"]
    again = Runs()
    sweep(again, {"s": [0, 1]}, path=path)
    assert again.calls == []


# ----------------------------------------------------------------------------------- resuming


def test_a_sweep_that_was_interrupted_goes_on_where_it_was(tmp_path):
    path = tmp_path / "sweep.jsonl"
    grid = {"s": [0, 1, 2, math.inf]}
    first, second = Runs(interrupt=2), Runs()
    with pytest.raises(KeyboardInterrupt):
        sweep(first, grid, path=path)
    table = sweep(second, grid, path=path)
    assert (first.calls, second.calls) == ([(0, 1), (1, 1)], [(2, 1), (math.inf, 1)])
    assert table.rows == sweep(Runs(), grid).rows


def test_a_larger_grid_runs_what_is_new_in_its_own_order(tmp_path):
    path = tmp_path / "sweep.jsonl"
    sweep(Runs(), {"s": [4, 1.0], "workers": 2}, path=path)
    run = Runs()
    table = sweep(run, {"workers": [2, 3], "s": [1, 4]}, path=path)
    assert run.calls == [(1, 3), (4, 3)]
    assert list(table["seconds"]) == [0.5, 2.0, 0.75, 3.0]
    assert len(sweep(run, {"s": [1], "workers": 2}, path=path)) == 1  # of the 4 in the file


@pytest.mark.parametrize("kept", [1, 11, 12, 13, 40, -1])
def test_a_last_line_that_was_cut_off_is_dropped(tmp_path, kept):
    path = tmp_path / "sweep.jsonl"
    grid = {"s": [0, 1, 2]}
    whole = sweep(Runs(), grid, path=path)
    text = path.read_bytes()
    last = text.splitlines(keepends=True)[-1]
    path.write_bytes(text[: -len(last)] + last[:kept])
    run = Runs()
    assert sweep(run, grid, path=path).rows == whole.rows
    assert run.calls == [(2, 1)]
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    "text", [b"a,b\n1,2\n", b"not a sweep", b"[1]\n", b'{"settings": 1, "figures": {}}\n', b"\n"]
)
def test_another_file_is_left_alone(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_bytes(text)
    run = Runs()
    with pytest.raises(ValueError, match=r"notes.txt is not the file of a sweep"):
        sweep(run, {"s": [1]}, path=path)
    assert path.read_bytes() == text
    assert run.calls == []


def test_a_folder_that_is_not_there_is_told_of_before_anything_runs(tmp_path):
    run = Runs()
    with pytest.raises(FileNotFoundError):
        sweep(run, {"s": [1]}, path=tmp_path / "nowhere" / "sweep.jsonl")
    assert run.calls == []


def test_rows_are_written_as_they_come(tmp_path):
    path = tmp_path / "sweep.jsonl"
    seen = []

    def run(s):
        seen.append(len(path.read_text().splitlines()))
        return {"text": 'a "line"\nand µs'}

    table = sweep(run, {"s": range(3)}, path=path)
    assert seen == [0, 1, 2]
    entry = json.loads(path.read_text().splitlines()[1])
    assert entry == {"settings": {"s": 1}, "figures": {"text": 'a "line"\nand µs'}}
    assert sweep(run, {"s": range(3)}, path=path).rows == table.rows
    assert len(seen) == 3


# ----------------------------------------------------------------------------------- progress


def test_progress_is_called_before_each_run_and_at_the_end(tmp_path):
    calls = []

    def progress(*call):
        calls.append(call)

    sweep(Runs(), {"s": [7, 8]}, progress=progress, path=tmp_path / "sweep.jsonl")
    assert calls == [(0, 2, {"s": 7}), (1, 2, {"s": 8}), (2, 2, {})]
    calls.clear()
    sweep(Runs(), {"s": [7, 9]}, progress=progress, path=tmp_path / "sweep.jsonl")
    assert calls == [(1, 2, {"s": 9}), (2, 2, {})]


def test_a_terminal_gets_one_line_and_a_headless_run_nothing(monkeypatch, capsys):
    sweep(Runs(), {"s": [0, 0.12345]})
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(experiment.sys, "stderr", Terminal())
    sweep(Runs(), {"s": [0, 0.12345]})
    written = experiment.sys.stderr.getvalue()
    assert "\n" not in written
    assert written.split("\r\x1b[K")[1:] == [
        "0 of 2 runs done; now s=0",
        "1 of 2 runs done; now s=0.1235",
        "",
    ]


# -------------------------------------------------------------------------------------- table


def mixed():
    return Table(
        [
            {"policy": "BSP", "s": 0, "seconds": 1.25, "ok": True},
            {"policy": "SSP", "s": 4, "seconds": 2 / 3, "ok": False, "odd": "inf"},
            {"policy": None, "s": 4, "seconds": None, "ok": True, "odd": 3},
        ]
    )


def test_columns_are_arrays():
    table = mixed()
    np.testing.assert_array_equal(table["s"], [0, 4, 4])
    np.testing.assert_array_equal(table["seconds"], [1.25, 2 / 3, math.nan])
    np.testing.assert_array_equal(table["policy"], ["BSP", "SSP", ""])
    np.testing.assert_array_equal(table["ok"], [True, False, True])
    assert list(table["odd"]) == [None, "inf", 3]
    kinds = {name: table[name].dtype.kind for name in table.columns}
    assert kinds == {"policy": "U", "s": "i", "seconds": "f", "ok": "b", "odd": "O"}


def test_rows_are_chosen_by_value():
    table = mixed()
    assert list(table.where(s=4)["policy"]) == ["SSP", ""]
    assert len(table.where(s=4, policy="SSP")) == 1
    assert len(table.where(s=5)) == 0


@pytest.mark.parametrize("ask", [lambda t: t["sec"], lambda t: t.where(sec=1)])
def test_a_column_that_there_is_not(ask):
    with pytest.raises(KeyError, match="there is no column 'sec', only policy, s, seconds, ok, od"):
        ask(mixed())


def test_the_csv_has_every_digit(tmp_path):
    path = tmp_path / "table.csv"
    mixed().to_csv(path)
    first, *rest = csv.reader(path.read_text(encoding="utf8").splitlines())
    assert first == ["policy", "s", "seconds", "ok", "odd"]
    assert float(rest[1][2]) == 2 / 3
    assert rest[2] == ["", "4", "", "True", "3"]


def test_text_with_commas_and_lines_stays_one_cell(tmp_path):
    path = tmp_path / "table.csv"
    Table([{"a": 'x, "y"\nz', "b": 1}]).to_csv(path)
    with open(path, newline="", encoding="utf8") as file:
        assert list(csv.reader(file)) == [["a", "b"], ['x, "y"\nz', "1"]]


def test_it_reads_as_a_table():
    assert repr(mixed()).splitlines() == [
        "policy  s  seconds     ok  odd",
        "BSP     0     1.25   True     ",
        "SSP     4   0.6667  False  inf",
        "        4            True  3  ",
    ]
    assert repr(Table([])) == "an empty table"
    assert Table([])._repr_html_() == "<table><tr></tr></table>"


def test_a_long_table_is_shown_in_part():
    text = repr(Table({"k": k} for k in range(1000))).splitlines()
    assert (len(text), text[1].strip(), text[21].strip(), text[-1]) == (42, "0", "…", "999")


def test_html_is_escaped():
    page = Table([{"a<b": "<script>", "n": 1}])._repr_html_()
    assert page == (
        "<table><tr><th>a&lt;b</th><th>n</th></tr>"
        "<tr><td>&lt;script&gt;</td><td>1</td></tr></table>"
    )
