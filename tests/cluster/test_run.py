"""A run that has ended: its tables, its trace, on disk and back."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Metric, RankFailed, Run, Snapshot, Trace
from ddml_kit.cluster.run import human_bytes
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.thinning import BUDGET, LEAST, MOST, Thinning, thin
from ddml_kit.cluster.trace import ALL_REDUCE, COMPUTE, EVENT, KINDS, RECEIVE, SEND, Recorder


def program(comm):
    """Two ranks, a bit of everything."""
    x = np.full(4, comm.rank, np.float32)
    comm.work(1.0 + comm.rank)
    comm.send(x, 1 - comm.rank, tag=5)
    comm.recv()
    comm.all_reduce(x)
    comm.record(loss=1.5 - comm.rank)
    comm.record(step=3)
    comm.snapshot(x)
    comm.start(comm.send, None, comm.rank).wait()
    return {"rank": comm.rank, "deep": [(x, None, "text"), np.float64(0.1), np.int64(7)]}


@pytest.fixture(scope="module")
def run():
    return Simulated(2, seed=3).run(program)


# ---------------------------------------------------------------------------------- run


def test_the_repr_is_one_line(run):
    assert repr(run) == "<Run: simulated, 2 ranks, 2 s, 4 messages, 64 B>"
    nothing = Recorder().trace()
    failed = Run("paced", 1, 0, 0.5, [None], nothing, failures={0: RankFailed(0, "no", 0.5)})
    assert repr(failed) == (
        "<Run: paced, 1 rank, 0.5 s, 0 messages, 0 B, rank 0 failed at 0.5 s: no>"
    )
    assert repr(Run("paced", 1, 0, 0.5, [None], nothing, stopped=True)).endswith("0 B, stopped>")


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (4_321_000, "4.32 MB"), (2.5e13, "25 TB")],
)
def test_bytes_for_people(n, text):
    assert human_bytes(n) == text


def test_metrics_are_a_table_with_nan_where_a_point_has_none(run):
    table = run.metrics
    assert list(table) == ["rank", "seconds", "loss", "step"]
    np.testing.assert_array_equal(table["rank"], [1, 1, 0, 0])
    np.testing.assert_array_equal(table["loss"], [0.5, math.nan, 1.5, math.nan])
    np.testing.assert_array_equal(table["step"], [math.nan, 3, math.nan, 3])
    assert (table["seconds"] > 2).all()
    assert list(Run("simulated", 1, 0, 0, [None], run.trace).metrics) == ["rank", "seconds"]


def test_a_curve_is_evaluated_at_the_snapshots_of_one_rank():
    def program(comm):
        for step in range(4):
            comm.work(1.0)
            comm.snapshot(np.full(2, 10.0 * step + comm.rank))

    curve = Simulated(2).run(program).curve(lambda w: float(w.sum()), rank=1)
    np.testing.assert_array_equal(curve.step, range(4))
    np.testing.assert_allclose(curve.seconds, [1, 2, 3, 4])
    np.testing.assert_array_equal(curve.value, [2, 22, 42, 62])
    assert len(Simulated(1).run(lambda comm: None).curve(sum).value) == 0


def assert_alike(a, b):
    assert (a.badge, a.size, a.seed, a.seconds, a.stopped) == (
        (b.badge, b.size, b.seed, b.seconds, b.stopped)
    )
    assert a.trace == b.trace
    assert list(a.points) == list(b.points)
    assert [s[:3] for s in a.snapshots] == [s[:3] for s in b.snapshots]
    for x, y in zip(a.snapshots, b.snapshots, strict=True):
        np.testing.assert_array_equal(x.w, y.w, strict=True)
    assert {r: str(f) for r, f in a.failures.items()} == {r: str(f) for r, f in b.failures.items()}


def test_a_run_is_saved_and_loaded(run, tmp_path):
    run.save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert_alike(loaded, run)
    for rank, result in enumerate(loaded.results):
        assert result["rank"] == rank
        (x, none, text), a, b = result["deep"]
        np.testing.assert_array_equal(x, np.full(4, rank, np.float32), strict=True)
        assert (none, text, a, b) == (None, "text", 0.1, 7)
        assert isinstance(result["deep"][0], tuple)


ABOUT = {
    "program": "data_parallel",
    "problem": {"name": "digits", "hidden": 32, "rate": None},
    "given": ["lr"],
}


def test_what_a_run_is_about_is_saved(run, tmp_path):
    dataclasses.replace(run, about=ABOUT).save(tmp_path / "run")
    assert Run.load(tmp_path / "run").about == ABOUT
    with pytest.raises(TypeError, match=r"about can't be saved: a set is none of array"):
        dataclasses.replace(run, about={"given": {"lr"}}).save(tmp_path / "other")


def test_a_file_of_a_run_that_says_nothing_about_itself_is_loaded(run, tmp_path):
    assert run.about == {}
    run.save(tmp_path / "run")
    with np.load(tmp_path / "run") as archive:
        arrays = dict(archive)
    head = json.loads(arrays["head"].tobytes())
    del head["about"]  # as it was before there was such a thing
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with open(tmp_path / "run", "wb") as file:
        np.savez_compressed(file, **arrays)
    loaded = Run.load(tmp_path / "run")
    assert loaded.about == {}
    assert_alike(loaded, run)


def test_a_file_that_is_about_something_odd_is_no_run(run, tmp_path):
    run.save(tmp_path / "run")
    with np.load(tmp_path / "run") as archive:
        arrays = dict(archive)
    head = {**json.loads(arrays["head"].tobytes()), "about": {"list": [1]}}
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with open(tmp_path / "run", "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"not a saved run: what it is about must be a mapping, g"):
        Run.load(tmp_path / "run")


def test_a_run_is_loaded_from_an_open_file(run, tmp_path):
    run.save(tmp_path / "run")
    assert_alike(Run.load(io.BytesIO((tmp_path / "run").read_bytes())), run)
    with pytest.raises(ValueError, match="this is not a saved run: "):
        Run.load(io.BytesIO(b"not a run"))


def test_what_all_ranks_have_is_written_once_and_comes_back_as_each_rank_s_own(tmp_path):
    noise = np.random.default_rng(0).standard_normal(50_000)
    odd = [noise, noise.view(np.int64), noise.reshape(2, -1), -noise]  # none is like another

    def saved(size):
        snapshots = [Snapshot(rank, 0.0, 0, noise.copy()) for rank in range(size)]
        run = Run("simulated", size, 0, 0.0, [odd] * size, Recorder().trace(), (), snapshots)
        run.save(tmp_path / f"{size}")
        return (tmp_path / f"{size}").stat().st_size

    assert saved(8) < 1.01 * saved(1)
    loaded = Run.load(tmp_path / "8")
    for result in loaded.results:
        for x, y in zip(result, odd, strict=True):
            np.testing.assert_array_equal(x, y, strict=True)
    loaded.results[0][0][:] = 0
    np.testing.assert_array_equal(loaded.results[1][0], noise)
    np.testing.assert_array_equal(loaded.snapshots[7].w, noise)


def test_the_same_run_is_saved_as_the_same_bytes(tmp_path):
    for name in "ab":
        Simulated(2, seed=3).run(program).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_failures_nan_and_infinity_are_saved(run, tmp_path):
    failure = RankFailed(1, "ValueError: no", 0.5, "Traceback ...")
    points = [Metric(0, 0.25, {"loss": math.inf, "x": math.nan})]
    broken = Run(
        "measured", 2, 1, 0.5, [math.nan, None], run.trace, points, (), {1: failure}, stopped=True
    )
    broken.save(tmp_path / "run")
    loaded = Run.load(tmp_path / "run")
    assert loaded.stopped
    assert math.isnan(loaded.results[0])
    assert loaded.points[0].values["loss"] == math.inf
    assert math.isnan(loaded.points[0].values["x"])
    assert loaded.failures[1].worker_traceback == "Traceback ..."
    assert str(loaded.failures[1]) == str(failure)


class Raced(NamedTuple):
    w: np.ndarray
    updates: int

    @property
    def half(self):
        return self.updates / 2


SCALARS = [
    np.float32(2), np.float64(0.1), np.float16(0.1), np.int8(-3), np.uint64(2**64 - 1),
    np.bool_(True), np.complex64(1 + 2j), np.longdouble(1) / 3, np.str_("ä"), np.bytes_(b"ab"),
    np.datetime64("2026-01-01"), np.float64("inf"),
]  # fmt: skip


def test_numbers_of_numpy_and_named_tuples_come_back_as_such(run, tmp_path):
    results = [SCALARS, Raced(np.ones(2), 7)]
    Run("simulated", 2, 0, 0.0, results, run.trace).save(tmp_path / "run")
    scalars, raced = Run.load(tmp_path / "run").results
    assert scalars == SCALARS
    assert [type(x) for x in scalars] == [type(x) for x in SCALARS]
    np.testing.assert_array_equal(raced.w, np.ones(2))
    assert raced.updates == 7
    assert type(raced).__name__ == "Raced"
    again = Run.load(tmp_path / "run").results[1]
    assert type(again) is type(raced)


RESULTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(results=st.lists(RESULTS, min_size=2, max_size=2))
def test_any_plain_result_comes_back_from_disk(run, tmp_path_factory, results):
    path = tmp_path_factory.mktemp("run") / "run"
    Run("simulated", 2, 0, 0.0, results, run.trace).save(path)
    assert Run.load(path).results == results


@pytest.mark.parametrize(
    "result", [{1: "key is no text"}, {1, 2}, object(), np.array([None]), 1 + 2j]
)
def test_a_result_that_cannot_be_saved_is_named_before_anything_is_written(run, tmp_path, result):
    path = tmp_path / "run"
    odd = Run("simulated", 2, 0, 0.0, [None, ["fine", result]], run.trace)
    with pytest.raises(TypeError, match=r"rank 1's result can't be saved: a .* is none of array"):
        odd.save(path)
    assert not path.exists()


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a saved run was unpickled",)


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "other npz", "half"])
def test_another_file_is_no_run(run, tmp_path, kind):
    path = tmp_path / "file"
    if kind == "text":
        path.write_text("not a run")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Trap()))
    elif kind == "other npz":
        with open(path, "wb") as file:
            np.savez(file, head=np.frombuffer(b"{}", np.uint8), trace=np.zeros(3))
    else:
        run.save(path)
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="file is not a saved run: "):
        Run.load(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Run.load(tmp_path / "nothing")


# -------------------------------------------------------------------------------- trace


def test_an_event_is_48_bytes():
    recorder = Recorder()
    recorder.add(SEND, 3, 1.0, 2.5, peer=4, tag=5, nbytes=6, strand=7)
    assert len(recorder.tobytes()) == EVENT.itemsize == 48
    [event] = recorder.trace().events
    assert {name: event[name] for name in EVENT.names} == {
        "start": 1.0, "stop": 2.5, "bytes": 6, "tag": 5, "rank": 3, "peer": 4, "kind": SEND,
        "strand": 7,
    }  # fmt: skip


def test_a_trace_is_asked_for_kinds_ranks_seconds_and_bytes(run):
    trace = run.trace
    assert len(trace) == 10
    assert len(trace.of(SEND)) == 4
    assert len(trace.of(SEND, RECEIVE, rank=1)) == 3
    assert set(trace.of(COMPUTE)["kind"].tolist()) == {COMPUTE}
    np.testing.assert_allclose(trace.seconds(COMPUTE, 3), [1, 2, 0])
    np.testing.assert_array_equal(trace.bytes_by_rank(3), [32, 32, 0])
    assert run.bytes == 64
    assert run.messages == 4
    assert trace.of(ALL_REDUCE)["bytes"].tolist() == [16, 16]


def test_traces_are_compared_event_by_event(run):
    other = run.trace.events.copy()
    assert Trace(other) == run.trace
    other["stop"][3] += 1e-12
    assert Trace(other) != run.trace
    assert Trace(other[:-1]) != run.trace
    assert run.trace != "trace"


def test_perfetto_shows_every_event_on_the_thread_of_its_rank(run, tmp_path):
    path = tmp_path / "trace.json"
    run.to_perfetto(path)
    events = json.loads(path.read_text())["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    shown = [e for e in events if e["ph"] == "X"]
    assert len(shown) == len(run.trace)
    for e, event in zip(shown, run.trace.events, strict=True):
        assert e["name"] == KINDS[event["kind"]]
        assert e["ts"] == pytest.approx(event["start"] * 1e6)
        assert e["dur"] == pytest.approx((event["stop"] - event["start"]) * 1e6)
        assert names[e["pid"], e["tid"]].startswith(f"rank {event['rank']}")
        assert e["args"]["bytes"] == event["bytes"]
    assert len({(e["pid"], e["tid"]) for e in shown}) == 4  # two ranks, two strands each


# ----------------------------------------------------------------------------- thinning


@given(steps=st.integers(0, 3000), size=st.integers(1, 4), nbytes=st.sampled_from([8, 10_000_000]))
def test_snapshots_are_evenly_spaced_from_the_first_and_not_too_many(steps, size, nbytes):
    rule = Thinning(size)
    kept = [step for _ in range(steps) if (step := rule.keep(nbytes)) is not None]
    most = max(LEAST, min(MOST, BUDGET // (nbytes * size)))
    snapshots = thin([Snapshot(0, float(step), step, np.zeros(1)) for step in kept])
    taken = [s.step for s in snapshots]
    assert len(taken) <= most + 1
    if steps:
        assert taken[0] == 0
        assert len(set(np.diff(taken))) <= 1
        stride = taken[1] if len(taken) > 1 else 1
        assert taken[-1] > steps - 1 - 2 * stride


def test_each_rank_is_thinned_by_itself():
    rows = [(0, k) for k in range(5)] + [(1, k) for k in (0, 1, 2, 4, 8)]
    kept = thin([Snapshot(rank, 0.0, step, np.zeros(1)) for rank, step in rows])
    assert [(s.rank, s.step) for s in kept] == [(0, k) for k in range(5)] + [
        (1, k) for k in (0, 4, 8)
    ]


def test_a_long_run_keeps_few_snapshots_and_memory():
    def program(comm):
        for step in range(5000):
            comm.snapshot(np.full(3, step))

    run = Simulated(2).run(program)
    for rank in (0, 1):
        steps = [s.step for s in run.snapshots if s.rank == rank]
        assert 100 <= len(steps) <= MOST
        assert steps == list(range(0, 5000, steps[1]))
