"""Local workers: how runs end, by failure, kill, stop or the parent's own end."""

import _thread
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import islice

import numpy as np
import pytest

from ddml_kit.cluster import Deadlock, RankFailed
from ddml_kit.cluster.local import launch
from ddml_kit.cluster.processes import Processes, warm_up

SOON = 10.0  # seconds after which a test gives up; what it waits for takes milliseconds


def wait_for(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def record_pid(comm):
    comm.record(pid=os.getpid())


def forever(comm, wait):
    comm.barrier()
    record_pid(comm)
    wait(comm)


def spin(comm):
    while True:
        pass


def receive(comm):
    comm.recv(timeout=600)


def reduce_without_rank_0(comm):
    if comm.rank:
        comm.all_reduce(np.ones(100_000))
    else:
        spin(comm)


WAITS = [spin, receive, reduce_without_rank_0]


def pids_of(running, size):
    pids = [int(point.values["pid"]) for point in islice(running, size)]
    assert len(pids) == size
    return pids


# ------------------------------------------------------------------------------- failures


class Overflow(Exception):
    def __init__(self, layer, value):
        super().__init__(f"layer {layer} is at {value}")


def test_a_workers_error_names_rank_time_and_its_own_lines():
    def step(comm):
        raise Overflow("relu", 3.5)

    def program(comm):
        if comm.rank == 1:
            step(comm)
        comm.recv(timeout=600)

    with pytest.raises(RankFailed) as caught:
        Processes(3).run(program)
    error = caught.value
    assert error.rank == 1
    assert error.reason == "Overflow: layer relu is at 3.5"
    assert 0 <= error.seconds < SOON
    assert 'raise Overflow("relu", 3.5)' in error.worker_traceback
    assert "worker.py" not in error.worker_traceback
    assert error.worker_traceback in "".join(error.__notes__)
    assert list(error.run.failures) == [1]
    assert error.run.results == [None] * 3
    assert not error.run.stopped


def test_the_cause_is_the_error_itself_where_it_can_be_sent():
    def program(comm):
        raise {0: LookupError, 1: Overflow}[comm.rank]("a", "b")

    with pytest.raises(RankFailed) as caught:
        Processes(1).run(program)
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.__cause__.args == ("a", "b")


def test_an_error_that_cannot_be_sent_is_still_told():
    def program(comm):
        error = ValueError("with a lock")
        error.lock = threading.Lock()
        raise error

    with pytest.raises(RankFailed, match="ValueError: with a lock") as caught:
        Processes(1).run(program)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "was killed by SIGKILL (perhaps the system ran out of memory, or"),
        (signal.SIGTERM, "was killed by SIGTERM (somebody ended it)"),
        (signal.SIGSEGV, "was killed by SIGSEGV (compiled code went wrong)"),
    ],
)
@pytest.mark.parametrize("wait", WAITS)
def test_a_killed_worker_is_explained_and_releases_the_others(wait, number, words):
    running = Processes(3).start(forever, wait)
    pids = pids_of(running, 3)
    os.kill(pids[0], number)
    with pytest.raises(RankFailed) as caught:
        running.result()
    assert words in str(caught.value)


def test_a_worker_that_leaves_is_explained():
    with pytest.raises(RankFailed, match="ended with exit code 3 before the program returned"):
        Processes(2).run(lambda comm: os._exit(3) if comm.rank else comm.recv(timeout=600))


def test_with_continue_the_others_go_on():
    def program(comm):
        comm.record(x=1)
        if comm.rank == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if comm.rank == 1:
            raise ValueError("enough")
        for dead in (1, 2):
            with pytest.raises(RankFailed):
                comm.recv(source=dead)
        return "done"

    run = Processes(3, on_failure="continue").run(program)
    assert run.results == ["done", None, None]
    assert list(run.failures) == [1, 2]
    assert run.failures[1].reason == "ValueError: enough"
    assert "SIGKILL" in run.failures[2].reason
    assert not run.stopped


def test_crashes_happen_when_they_should_and_keep_the_trace():
    def program(comm):
        comm.work(0.02)
        comm.work(60)

    with pytest.raises(RankFailed, match="crashed") as caught:
        Processes(2, paced=True, crashes={1: 0.1}).run(program)
    assert caught.value.rank == 1
    assert caught.value.seconds >= 0.1
    assert 1 in caught.value.run.trace["rank"]


def test_a_deadlock_says_who_waits_for_whom():
    def program(comm):
        comm.recv(source=1 - comm.rank, tag=7)

    with pytest.raises(Deadlock) as caught:
        Processes(2).run(program)
    assert "rank 0 waits for" in str(caught.value)
    assert "rank 1, tag 7" in str(caught.value)
    assert caught.value.run.results == [None, None]


def test_a_killed_server_is_explained_and_replaced():
    from ddml_kit.cluster.local.forked import ForkServer

    running = Processes(2).start(forever, spin)
    pids = pids_of(running, 2)
    os.kill(ForkServer.running().process.pid, signal.SIGKILL)
    with pytest.raises(RankFailed, match="the server that workers are forked from was killed"):
        running.result()
    wait_for(lambda: not any(map(is_there, pids)))
    assert Processes(2).run(lambda comm: comm.rank).results == [0, 1]


# ----------------------------------------------------------------------------------- stop


@pytest.mark.parametrize("wait", WAITS)
def test_stop_ends_the_run_and_keeps_what_there_is(wait):
    running = Processes(3).start(forever, wait)
    pids_of(running, 3)
    running.stop()
    run = running.result()
    assert run.stopped
    assert run.results == [None] * 3
    assert len(run.points) == 3
    assert set(run.trace["rank"]) == {0, 1, 2}
    assert not run.failures


def test_stop_ends_programs_that_refuse():
    def program(comm):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        record_pid(comm)
        while True:
            with contextlib.suppress(BaseException):
                comm.recv(timeout=600)

    running = Processes(2).start(program)
    pids_of(running, 2)
    running.stop()
    assert running.result().stopped


def test_stop_twenty_times_in_a_row():
    for _ in range(20):
        running = Processes(2).start(receive)
        running.stop()
        assert running.result().stopped
        running.stop()


def test_stop_after_the_end_changes_nothing():
    running = Processes(2).start(lambda comm: comm.rank)
    first = running.result()
    running.stop()
    assert running.result() is first
    assert not first.stopped


def test_two_runs_at_once_do_not_touch_each_other():
    def program(comm, go_on):
        record_pid(comm)
        return comm.all_reduce(comm.rank) if go_on else comm.recv(timeout=600)

    blocked = Processes(2).start(program, False)
    pids_of(blocked, 2)
    assert Processes(3).run(program, True).results == [3, 3, 3]
    blocked.stop()
    assert blocked.result().stopped


def test_an_interrupt_ends_the_run_and_is_passed_on():
    running = Processes(2).start(forever, receive)
    pids = []

    def interrupt():
        pids.extend(pids_of(running, 2))
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            running.result()
    finally:
        signal.signal(signal.SIGINT, handler)
    thread.join()
    assert not any(map(is_there, pids))


def test_an_interrupt_that_reaches_a_worker_does_nothing():
    def program(comm):
        os.kill(os.getpid(), signal.SIGINT)
        return "still here"

    assert Processes(1).run(program).results == ["still here"]


def test_a_run_that_is_let_go_of_is_ended():
    running = Processes(2).start(forever, receive)
    pids = pids_of(running, 2)
    del running
    gc.collect()
    wait_for(lambda: not any(map(is_there, pids)))


# ---------------------------------------------------------------------- the parent's end

SCRIPT = """
import os, sys, time
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.local.forked import ForkServer

def program(comm):
    comm.record(pid=os.getpid())
    {wait}

if {spawned}:
    from ddml_kit.cluster.local import launch
    launch.FORKS = False
running = Processes(2).start(program)
points = iter(running)
pids = [int(next(points).values["pid"]) for _ in range(2)]
print(ForkServer.running().process.pid, *pids, flush=True)
{end}
"""
ENDS = {
    "kill": "os.kill(os.getpid(), 9)",
    "exit": "",
    "os._exit": "os._exit(0)",
    "error": "raise SystemExit(3)",
}


def run_script(source):
    """The ids that it prints, and what it wrote to standard error, once it has ended."""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60
    )
    return [int(pid) for pid in done.stdout.split()], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork server elsewhere")
@pytest.mark.parametrize(
    ("wait", "end"),
    [("comm.recv(timeout=600)", "kill"), *(("while True: pass", end) for end in ENDS)],
)
def test_workers_and_server_end_with_the_parent(wait, end):
    pids, errors = run_script(SCRIPT.format(wait=wait, end=ENDS[end], spawned=False))
    assert len(pids) == 3
    wait_for(lambda: not any(map(is_there, pids)))
    assert errors == ""


def test_spawned_workers_end_with_the_parent():
    pids, errors = run_script(
        SCRIPT.format(wait="comm.recv(timeout=600)", end=ENDS["kill"], spawned=True)
    )
    assert len(pids) == 3
    wait_for(lambda: not any(map(is_there, pids)))
    assert errors == ""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork server elsewhere")
def test_a_server_that_is_still_loading_ends_with_the_parent():
    [pid], errors = run_script(
        "from ddml_kit.cluster.processes import warm_up\n"
        "from ddml_kit.cluster.local.forked import ForkServer\n"
        "import os\n"
        "warm_up()\n"
        "print(ForkServer.running().process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    wait_for(lambda: not is_there(pid))
    assert errors == ""


GUARD = """
import os, signal, sys, types
from ddml_kit.cluster.local import guards
guards.sys = types.SimpleNamespace(platform=sys.argv[1])
pipe, other = os.pipe()
if sys.argv[2] == "before":
    os.close(other)
guards.end_with(pipe)
if sys.argv[2] == "after":
    os.close(other)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pretends to be on other systems")
@pytest.mark.parametrize("closed", ["before", "after"])
@pytest.mark.parametrize(("platform", "code"), [("linux", -signal.SIGKILL), ("darwin", 1)])
def test_the_guard_ends_its_process_when_the_pipe_is_closed(platform, code, closed):
    done = subprocess.run([sys.executable, "-c", GUARD, platform, closed], timeout=60)
    assert done.returncode == code


@pytest.mark.skipif(not launch.FORKS, reason="there is no fork server here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_of_the_parent_does_not_keep_the_server_alive():
    from ddml_kit.cluster.local.forked import ForkServer

    warm_up()
    child = os.fork()
    if child == 0:
        os._exit(0 if ForkServer._one is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert Processes(1).run(lambda comm: comm.rank).results == [0]
