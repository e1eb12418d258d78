"""Local workers: what travels to them and back, and how they are set up."""

import linecache
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter

import numpy as np
import pytest

from ddml_kit.cluster import Metric, RankFailed, Snapshot
from ddml_kit.cluster.local import launch, watch
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.seeding import global_seeds


def cell(source, name="<ipython-input-7>"):
    """What a notebook's cell defines: its functions belong to no module that can be imported."""
    source = textwrap.dedent(source)
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    names = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), names)
    return names


@pytest.fixture(params=["forked", "spawned"])
def either_way(request, monkeypatch):
    if request.param == "spawned":
        monkeypatch.setattr(launch, "FORKS", False)


@pytest.mark.usefixtures("either_way")
def test_what_a_cell_defines_just_works():
    names = cell("""
        import math
        import numpy as np

        class Point:
            def __init__(self, x):
                self.x = x

        offset = 10
        shift = lambda x: x + offset

        def helper(x):
            return Point(shift(math.floor(x)))

        def program(comm, x, *, scale):
            everyone = comm.all_gather(helper(x * scale + comm.rank))
            return everyone[-1], np.arange(3)
    """)
    results = Processes(2).run(names["program"], 0.5, scale=3).results
    for point, array in results:
        assert isinstance(point, names["Point"])
        assert point.x == 12
        np.testing.assert_array_equal(array, [0, 1, 2])


@pytest.mark.parametrize("forks", [launch.FORKS, False])
def test_a_script_needs_no_main_guard(tmp_path, forks):
    script = tmp_path / "script.py"
    script.write_text(
        "from ddml_kit.cluster.local import launch\n"
        "from ddml_kit.cluster.processes import Processes\n"
        f"launch.FORKS = {forks}\n"
        "print('once')\n"
        "def program(comm):\n"
        "    print('rank', comm.rank)\n"
        "    return comm.rank\n"
        "print(Processes(2).run(program).results)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert Counter(done.stdout.split("\n")) == Counter(
        ["once", "rank 0", "rank 1", "[0, 1]", ""]
    ), done.stderr
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("forks", [launch.FORKS, False])
def test_a_module_that_starts_workers_when_it_is_imported_is_told_so(tmp_path, forks):
    (tmp_path / "mine.py").write_text(
        "from ddml_kit.cluster.local import launch\n"
        "from ddml_kit.cluster.processes import Processes\n"
        f"launch.FORKS = {forks}\n"
        "cluster = Processes(2)\n"
        "def program(comm):\n"
        "    return comm.rank\n"
        "print(cluster.run(program).results)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import mine"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'put that under if __name__ == "__main__"' in done.stderr
    assert done.stdout == ""


def test_workers_print_where_the_parent_prints_now(tmp_path):
    Processes(1).run(lambda comm: None)  # the server was there before
    before = os.dup(1)
    with open(tmp_path / "output", "w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            Processes(2).run(lambda comm: print("here", comm.rank))
        finally:
            os.dup2(before, 1)
            os.close(before)
        file.seek(0)
        assert sorted(file.read().splitlines()) == ["here 0", "here 1"]


def test_workers_see_the_parents_directory_environment_and_modules(tmp_path, monkeypatch):
    Processes(1).run(lambda comm: None)  # the server was there before
    (tmp_path / "written_later.py").write_text("answer = 42\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WRITTEN_LATER", "yes")

    def program(comm):
        import written_later

        return os.getcwd(), os.environ["WRITTEN_LATER"], written_later.answer, sys.argv

    assert Processes(1).run(program).results == [(str(tmp_path), "yes", 42, sys.argv)]


def mapping(array):
    """The file and the access rights behind an array's memory, from the kernel's list."""
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps") as file:
        for line in file:
            start, stop = (int(bound, 16) for bound in line.split()[0].split("-"))
            if start <= address < stop:
                return line.split()[1], line.split()[3:6]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's list of mappings is Linux's")
def test_array_arguments_are_one_memory_that_nobody_can_write():
    def program(comm, x, y):
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
        rights, file = mapping(x)
        return rights, file, float(x.sum() + y["deep"][0].sum())

    x, y = np.ones(100_000), {"deep": [np.ones((3, 5), np.float32)]}
    first, second = Processes(2).run(program, x, y).results
    assert first == second
    assert first[0].startswith("r-")
    assert first[2] == 100_015
    assert "memfd" in first[1][2]


def test_no_segment_has_a_name():
    def program(comm, x):
        comm.all_reduce(x)
        with open("/proc/self/maps") as file:
            return [line for line in file if "/dev/shm" in line], os.listdir("/dev/shm")

    before = os.listdir("/dev/shm")
    for mapped, _ in Processes(2).run(program, np.ones(1_000_000)).results:
        assert mapped == []
    assert set(os.listdir("/dev/shm")) <= set(before)


HEAVY = """
import numpy as np
from ddml_kit.cluster.processes import Processes

def program(comm, x):
    part = comm.shared(x)
    comm.send(part, 1 - comm.rank)
    return comm.recv().value + comm.all_reduce(part)

x = np.ones(12_500_000)
print(*(float(result.sum()) for result in Processes(2).run(program, x).results))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /dev/shm elsewhere")
@pytest.mark.parametrize("filled", [False, True])
def test_a_small_or_full_dev_shm_does_not_matter(filled):
    """100 MB each as argument, shared, sent, reduced and returned, where Docker gives 64 MB."""
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    small = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    if subprocess.run([*apart, small], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a /dev/shm of their own")
    fill = "! head -c 65M /dev/zero > /dev/shm/filled" if filled else "true"
    script = [*apart, f'{small} && {fill} && exec "$@"', "sh", sys.executable, "-c", HEAVY]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.stdout == "37500000.0 37500000.0\n", done.stderr


def test_no_rank_sees_anothers_changes_to_an_argument():
    def program(comm, things):
        things.append(comm.rank)
        comm.barrier()
        return things

    things = []
    assert Processes(3).run(program, things).results == [[0], [1], [2]]
    assert things == []


def test_each_worker_computes_with_one_thread():
    def program(comm):
        import numba
        import threadpoolctl
        import torch

        torch.ones(300, 300) @ torch.ones(300, 300)
        np.ones((300, 300)) @ np.ones((300, 300))
        pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        return (
            torch.get_num_threads(),
            numba.get_num_threads(),
            set(pools),
            threading.active_count(),
        )

    assert Processes(2).run(program).results == [(1, 1, {1}, 1)] * 2


def test_global_generators_are_seeded_by_seed_and_rank():
    def program(comm):
        return int(np.random.randint(1 << 30))  # noqa: NPY002 - that is what is tested

    expected = [
        int(np.random.RandomState(global_seeds(5, rank)["numpy"]).randint(1 << 30))
        for rank in range(2)
    ]
    assert Processes(2, seed=5).run(program).results == expected


def test_large_results_come_back_writable_and_whole():
    def program(comm, n):
        return {"w": np.arange(n) * (comm.rank + 1), "empty": np.empty((0, 3)), "text": "x" * n}

    n = 300_000
    for rank, result in enumerate(Processes(2).run(program, n).results):
        np.testing.assert_array_equal(result["w"], np.arange(n) * (rank + 1))
        result["w"][0] = 1
        assert result["empty"].shape == (0, 3)
        assert result["text"] == "x" * n


def test_a_result_that_cannot_be_sent_is_a_sentence():
    with pytest.raises(RankFailed) as caught:
        Processes(2).run(lambda comm: (x for x in "ab") if comm.rank else None)
    assert caught.value.rank == 1
    assert str(caught.value).endswith(
        "its result, a generator, can't be sent to the parent: a result must pickle "
        "(TypeError: cannot pickle 'generator' object)"
    )


def test_a_result_that_cannot_be_unpacked_is_a_sentence():
    names = cell("""
        def refuse():
            raise KeyError("not here")

        class Bomb:
            def __reduce__(self):
                return refuse, ()

        def program(comm):
            return Bomb()
    """)
    with pytest.raises(RankFailed, match=r"its result can't be unpacked in the parent \(KeyError"):
        Processes(1).run(names["program"])


def test_an_argument_that_cannot_be_sent_is_a_sentence():
    with pytest.raises(TypeError, match=r"argument 2 \(lock\) can't be sent to the workers"):
        Processes(2).start(print, 1, threading.Lock())


def test_points_arrive_while_the_workers_run():
    def program(comm):
        for step in range(3):
            comm.record(step=step)
            comm.snapshot(np.full(5000, step))
        comm.recv(timeout=600)

    running = Processes(2).start(program)
    seen = []
    for point in running:
        seen.append(point)
        if len(seen) == 12:
            break
    running.stop()
    assert list(running) == []
    run = running.result()
    assert sorted(p for p in seen if isinstance(p, Metric)) == sorted(run.points)
    for rank in range(2):
        steps = [
            (s.step, s.w[0], len(s.w)) for s in seen if isinstance(s, Snapshot) and s.rank == rank
        ]
        assert steps == [(0, 0, 5000), (1, 1, 5000), (2, 2, 5000)]


def test_nobody_has_to_read_the_points():
    def program(comm):
        for step in range(5000):
            comm.record(step=step)

    run = Processes(2).run(program)
    for rank in range(2):
        table = run.metrics
        np.testing.assert_array_equal(table["step"][table["rank"] == rank], range(5000))


def test_the_badge_says_whether_time_is_paced():
    assert Processes(1).run(lambda comm: None).badge == "measured"
    run = Processes(1, paced=True).run(lambda comm: comm.work(0.05))
    assert run.badge == "paced"
    assert run.seconds >= 0.05


def test_the_watcher_waits_as_it_does_on_windows(monkeypatch):
    monkeypatch.setattr(watch, "_selector", watch._Handles)

    def program(comm):
        comm.record(x=comm.rank)
        return comm.all_reduce(np.ones(3))

    run = Processes(3).run(program)
    assert sorted(run.metrics["rank"]) == [0, 1, 2]
    np.testing.assert_array_equal(run.results, np.full((3, 3), 3.0))
    with pytest.raises(RankFailed, match="exit code 3"):
        Processes(2).run(lambda comm: os._exit(3))


def test_runs_leave_no_descriptor_open():
    def count():
        return len(os.listdir("/proc/self/fd"))

    Processes(2).run(lambda comm: None)
    before = count()
    for _ in range(3):
        Processes(2).run(lambda comm: comm.all_reduce(np.ones(10)))
    assert count() == before


def test_a_worker_may_have_a_cluster_of_its_own():
    def program(comm):
        return Processes(2).run(lambda inner: inner.all_reduce(inner.rank + 1)).results

    assert Processes(1).run(program).results == [[3, 3]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 0}, "Processes needs 1 or more ranks, got 0"),
        ({"size": -2}, "Processes needs 1 or more ranks, got -2"),
        ({"size": 2.5}, "Processes needs 1 or more ranks, got 2.5"),
        ({"size": 10_000}, "Processes has at most 200 workers, got 10000: each is a process"),
        ({"size": 2, "crashes": {2: 1.0}}, "crashes names rank 2, but ranks go from 0 to 1"),
        ({"size": 2, "crashes": {0: -1.0}}, "rank 0 must crash at 0 or more seconds, got -1"),
        ({"size": 2, "seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"size": 2, "on_failure": "retry"}, 'on_failure must be "stop" or "continue"'),
        ({"size": 2, "paced": "yes"}, "paced must be True or False, got 'yes'"),
    ],
)
def test_bad_input_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Processes(**options)
