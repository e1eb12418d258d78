"""Two hosts made of namespaces: what ends them, and that they train one model together.

Skipped, with the reason, where such hosts can't be made.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from benchmarks import hosts as two
from benchmarks.hosts import NoHosts, torchrun, two_hosts
from ddml_kit.cluster import Run
from ddml_kit.command.main import main

RATE = 12.5e6  # bytes a second
PATIENCE = 120.0  # seconds until a test gives up; most of it is for starting torch
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hosts():
    try:
        with two_hosts(RATE) as pair:
            yield pair
    except NoHosts as why:
        pytest.skip(str(why))


def printed(host, command, tmp_path):
    """What a command prints on a host."""
    with open(tmp_path / "printed", "w+b") as file:
        assert host.start(command, file).wait() == 0
        file.seek(0)
        return file.read().decode()


def test_each_host_has_a_network_and_processes_of_its_own(hosts, tmp_path):
    for host in hosts:
        links = printed(host, ["ip", "-brief", "address"], tmp_path)
        assert host.address in links
        assert len(links.splitlines()) == 2  # its end of the cable, and itself
        assert printed(host, ["ps", "-o", "pid=", "-p", "1"], tmp_path).split() == ["1"]


def test_the_cable_has_its_rate_on_both_ends(hosts, tmp_path):
    for host in hosts:
        assert "rate 100Mbit" in printed(host, ["tc", "qdisc", "show"], tmp_path)


def test_a_program_that_fails_on_one_host_is_ended_on_the_other_and_tells(hosts):
    program = """
        import os, time
        print("node", os.environ["GROUP_RANK"], "is here", flush=True)
        if os.environ["GROUP_RANK"] == "1":
            raise ValueError("enough")
        time.sleep(600)
    """
    with pytest.raises(RuntimeError, match=r"(?s)torchrun ended with.*node 0 is here.*: enough"):
        torchrun(
            hosts, 1, ["--no-python", sys.executable, "-c", textwrap.dedent(program)], PATIENCE
        )


def test_a_program_that_goes_on_for_too_long_is_ended(hosts):
    forever = ["--no-python", "sleep", "600"]
    with pytest.raises(RuntimeError, match="torchrun went on for more than 0 s"):
        torchrun(hosts, 1, forever, timeout=0)


def test_when_their_maker_is_killed_nothing_is_left(hosts):
    maker = """
        import os
        import sys
        from benchmarks.hosts import two_hosts
        from benchmarks.leftovers import descendants
        program = "sleep 600 & echo ready; exec sleep 600"
        with two_hosts(1e6) as hosts:
            for host in hosts:
                host.start(["sh", "-c", program], sys.stdout.buffer)
            input()
            print(*descendants(os.getpid()), flush=True)
            input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(maker)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert [process.stdout.readline() for _ in hosts] == ["ready\n"] * 2
        process.stdin.write("\n")
        process.stdin.flush()
        left = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        assert len(left) == 2 * 2 + 2 * 3  # unshare, the first; nsenter, sleep, sleep
        process.kill()
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLIN)
    while left and (gone := poll.poll(PATIENCE * 1000)):
        for fd, _ in gone:
            poll.unregister(fd)
            os.close(fd)
            left.remove(fd)
    assert not left


def test_where_they_cannot_be_made_a_sentence_says_why(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoHosts, match="there is no ip, tc, unshare, nsenter"), two_hosts(1e6):
        pass


def test_what_was_refused_is_told(monkeypatch, tmp_path):
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NoHosts, match="one must be root: unshare failed: Op"), two_hosts(1e6):
        pass


def test_a_cable_that_is_refused_is_told(monkeypatch):
    monkeypatch.setattr(two, "CABLE", "a name that no cable can have")
    with pytest.raises(NoHosts, match=r"no hosts can be joined here, .* ip link"), two_hosts(1e6):
        pass


def test_two_hosts_train_one_model_with_the_bits_of_a_simulated_cluster(hosts, tmp_path):
    there, here = str(tmp_path / "there.npz"), str(tmp_path / "here.npz")
    training = ["run", "data_parallel", "--problem", "digits", "--steps", "20", "--out"]
    torchrun(hosts, 2, ["-m", "ddml_kit", *training, there], PATIENCE)
    assert main([*training, here, "--simulated", "4"]) == 0
    measured, simulated = Run.load(there), Run.load(here)
    assert (measured.badge, measured.size) == ("measured", 4)
    for w, expected in zip(measured.results, simulated.results, strict=True):
        np.testing.assert_array_equal(w, expected, strict=True)
