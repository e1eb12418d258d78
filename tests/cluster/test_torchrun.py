"""Torchrun where torchrun has started the processes; what all clusters do is conformance's."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ddml_kit.cluster import Simulated, Torchrun
from ddml_kit.cluster.distributed import world as worlds

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

BEGIN = """
import json, os, random, signal, sys, threading
import numpy as np
from ddml_kit.cluster import ANY, ClusterError, Deadlock, RankFailed, Torchrun
from ddml_kit.cluster.faults import Constant

RANK, said = int(os.environ["RANK"]), {}

def attempt(cluster, program, *args):
    try:
        return cluster.run(program, *args)
    except ClusterError as error:
        said[program.__name__] = [type(error).__name__, str(error)]
        return error

def leave():
    with open(f"{sys.argv[1]}/{RANK}.json", "w") as file:
        json.dump(said, file)
"""

SEVERAL = """
def sums(comm, x):
    x = x + comm.stream("noise").standard_normal(len(x))
    comm.send(x[:2], (comm.rank + 1) % comm.size, tag=2**62)
    message = comm.recv(tag=2**62)
    comm.record(step=comm.rank)
    comm.snapshot(x)
    return [comm.all_reduce(x).tolist(), message.source, random.random()]

def fails(comm):
    if comm.rank == 1:
        raise ValueError("no")
    comm.recv(1)

def forgets(comm):
    if comm.rank != 1:
        comm.barrier()
    else:
        comm.recv(0, tag=3)

def left(comm):
    if comm.rank != 1:
        comm.recv(1)

def led(comm):
    if comm.rank != 0:
        comm.recv(0, tag=5)

def differs(comm):
    comm.barrier() if comm.rank else comm.all_gather(1)

def spins(comm):
    if comm.rank == 0:
        raise ValueError("stop the others")
    while comm.rank == 1:
        pass
    comm.recv(1)

def shares(comm):
    comm.shared(np.zeros(3))

def goes_on(comm):
    if comm.rank == 2:
        comm.recv(0, tag=9)  # never comes: it crashes here
    try:
        comm.recv(2)
    except RankFailed as failure:
        return str(failure.reason)

def endless(comm):
    step = 0
    while True:
        comm.record(step=step)
        comm.work(1e-3)
        comm.barrier()
        step += 1

cluster, x = Torchrun(seed=3), np.linspace(-1e8, 1e8, 5000)
random.seed(1)
state = random.getstate()
run = cluster.run(sums, x)
said["generators"] = state == random.getstate()
said["sums"] = run.results
said["trace"] = sorted(set(run.trace["rank"].tolist()))
said["points"] = sorted(run.metrics["step"].tolist())
said["snapshots"] = sorted(s.rank for s in run.snapshots)
said["repr"] = repr(run).split(",")[:2]
if RANK == 0:
    sent, received = run.trace.of(1), run.trace.of(2)
    order = np.argsort(sent["rank"])
    late = received["stop"][np.argsort(received["peer"])] >= sent["start"][order]
    said["clock"] = bool(late.all())
error = attempt(cluster, fails)
said["cause"] = [repr(error.__cause__), repr(error.run.failures[1]), error.run.results]
for program in (forgets, left, led, differs, spins, shares):
    attempt(cluster, program)
run = Torchrun(on_failure="continue", crashes={2: 0.05}).run(goes_on)
said["goes_on"] = [run.results, [f.reason for f in run.failures.values()]]
running = cluster.start(endless)
if RANK == 1:
    running.stop()
run = running.result()
said["stopped"] = [run.stopped, run.results]
running, seen = cluster.start(endless), 0
for point in running:
    seen += 1
    if seen == 20:
        running.stop()
said["live"] = [seen >= 20, running.result().stopped, len(running.result().points) >= 20]
try:
    Torchrun(8)
except ValueError as error:
    said["size"] = str(error)
said["paced"] = Torchrun(paced=True, slowdowns=[Constant({0: 2.0})]).run(goes_home).badge
said["threads"] = [thread.name for thread in threading.enumerate()]
sys.setprofile(lambda *_: None)  # would wait for ever at the mark of an interrupt taken back
leave()
sys.setprofile(None)
""".replace("goes_home", "lambda comm: comm.work(1e-3)")

BROKEN = """
def broken(comm, sender):
    def full(*_):
        raise MemoryError("no room")

    comm.barrier()
    if comm.rank == 1:
        comm._endpoint._post.inbox.put = full
        comm.send(0, sender)
        comm.recv(sender)
    elif comm.rank == sender:
        comm.recv(1)
        for i in range(20):
            comm.send(i, 1)
        comm.recv(1)
    else:
        comm.recv(1)

for sender in (2, 0):
    attempt(Torchrun(), broken, sender)
    said[sender] = said.pop("broken")
leave()
"""

KILLED = """
def killed(comm):
    comm.barrier()
    if comm.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.recv(1)

attempt(Torchrun(), killed)
leave()
"""

ENDLESS = """
def endless(comm):
    while True:
        comm.barrier()
        comm.record(going=1)

running = Torchrun().start(endless)
try:
    for point in running:
        if RANK == 0 and not said:
            print("going", flush=True)
            said["going"] = True
except SystemExit as ending:
    said["ending"] = [ending.code, running.result().stopped]
    leave()
    raise
"""

TWICE = """
for i in range(2):
    said[i] = Torchrun(2).run(lambda comm: comm.all_gather(comm.rank + i)).results
leave()
"""


@pytest.fixture
def script(tmp_path):
    """Writes a script; the arguments that run it."""

    def write(text: str) -> list[str]:
        (tmp_path / "script.py").write_text(BEGIN + text)
        return [str(tmp_path / "script.py"), str(tmp_path)]

    return write


@contextmanager
def torchrun(n: int, arguments: list[str]) -> Iterator[subprocess.Popen]:
    """torchrun of a script, whose output can be read."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    process = subprocess.Popen(
        [*command, f"--nproc-per-node={n}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def said(tmp_path: Path, rank: int):
    return json.loads((tmp_path / f"{rank}.json").read_text())


def test_runs_one_after_the_other_are_the_same_on_all_ranks(script, tmp_path):
    with torchrun(3, script(SEVERAL)) as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    ranks = [said(tmp_path, rank) for rank in range(3)]

    def sums(comm, x):
        x = x + comm.stream("noise").standard_normal(len(x))
        return comm.all_reduce(x).tolist()

    expected = Simulated(3, seed=3).run(sums, np.linspace(-1e8, 1e8, 5000)).results
    whole = [ranks[0]["sums"], expected, [2, 0, 1]]
    for rank, mine in enumerate(ranks):
        assert [result[0] for result in mine["sums"]] == whole[1]
        assert [result[1] for result in mine["sums"]] == whole[2]
        assert mine["sums"] == whole[0]
        assert len({result[2] for result in mine["sums"]}) == 3
        assert mine["points"] == [0.0, 1.0, 2.0]
        assert mine["trace"] == ([0, 1, 2] if rank == 0 else [rank])
        assert mine["snapshots"] == ([0, 1, 2] if rank == 0 else [])
        assert mine["repr"] == ["<Run: measured", " 3 ranks"]
        assert mine["generators"]
        assert mine["threads"] == ["MainThread"]
        assert mine["paced"] == "paced"
        assert mine["stopped"] == [True, [None] * 3]
        assert mine["size"] == (
            "Torchrun(8) needs 8 processes, but torchrun has started 3: "
            "torchrun --nproc-per-node 8, or Torchrun()"
        )
        assert mine["goes_on"] == [
            ["crashed, as crashes={2: 0.05} asked"] * 2 + [None],
            ["crashed, as crashes={2: 0.05} asked"],
        ]
        for name in ("fails", "forgets", "left", "led", "differs", "spins", "shares"):
            assert mine[name] == ranks[0][name]  # one sentence for all
    assert ranks[0]["clock"]
    assert ranks[0]["live"] == [True, True, True]
    mine = ranks[2]
    assert mine["fails"][0] == mine["spins"][0] == "RankFailed"
    assert mine["fails"][1].startswith("rank 1 failed at ")
    assert mine["fails"][1].endswith("s: ValueError: no")
    assert mine["cause"][0] == "ValueError('no')"
    assert mine["cause"][2] == [None] * 3
    assert mine["forgets"][0] == "Deadlock"
    assert (
        "rank 0 waits for rank 1 to call barrier; "
        "rank 1 waits for a message from rank 0, tag 3; "
        "rank 2 waits for rank 1 to call barrier"
    ) in mine["forgets"][1]
    assert mine["left"][0] == mine["led"][0] == "Deadlock"
    assert (
        "rank 0 waits for a message from rank 1; rank 1 has finished; "
        "rank 2 waits for a message from rank 1"
    ) in mine["left"][1]
    assert (
        "rank 0 has finished; rank 1 waits for a message from rank 0, tag 5; "
        "rank 2 waits for a message from rank 0, tag 5"
    ) in mine["led"][1]
    assert "a collective needs the same call on every rank" in mine["differs"][1]
    assert "ValueError: stop the others" in mine["spins"][1]
    assert "Torchrun's ranks share no memory" in mine["shares"][1]


def test_a_rank_that_cannot_receive_any_more_fails(script, tmp_path):
    with torchrun(3, script(BROKEN)) as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    for rank in range(3):
        for kind, sentence in said(tmp_path, rank).values():
            assert kind == "RankFailed"
            assert sentence.startswith("rank 1 failed")
            assert sentence.endswith("MemoryError: no room")


def test_a_killed_rank_is_named_on_the_others(script, tmp_path):
    with torchrun(3, script(KILLED)) as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "SIGKILL" in errors
    for rank in (0, 2):
        kind, sentence = said(tmp_path, rank)["killed"]
        assert kind == "RankFailed"
        assert sentence.startswith("rank 1 failed at ")
        assert sentence.endswith("s: its process died, or its connection broke")


def test_a_signal_to_torchrun_stops_the_run_on_all_ranks(script, tmp_path):
    with torchrun(2, script(ENDLESS)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "going\n"
        process.terminate()
        process.communicate(timeout=60)
    for rank in (0, 1):
        assert said(tmp_path, rank)["ending"] == [128 + signal.SIGTERM, True]


def test_what_sets_the_same_variables_will_do(script, tmp_path):
    arguments = script(TWICE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | told | {"RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    for rank in range(2):
        assert said(tmp_path, rank) == {"0": [[0, 1]] * 2, "1": [[1, 2]] * 2}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Torchrun(),
            "Torchrun needs a size, or processes that torchrun has started: "
            "torchrun --nproc-per-node 4 script.py",
        ),
        (lambda: Torchrun(0), "Torchrun needs 1 or more ranks, got 0"),
        (lambda: Torchrun(2, paced=1), "paced must be True or False, got 1"),
        (lambda: Torchrun(2, on_failure="x"), 'on_failure must be "stop" or "continue", got \'x\''),
        (lambda: Torchrun(2, crashes={5: 1.0}), "crashes names rank 5, but ranks go from 0 to 1"),
    ],
)
def test_what_cannot_be_a_cluster(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


def test_the_kits_import_leaves_torch_alone():
    code = "import sys, ddml_kit.cluster; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    assert worlds.NAMES == ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
