"""The server that workers are forked from, when the system or a library gets in its way."""

import errno
import socket
import subprocess
import sys
import textwrap

import pytest

from ddml_kit.cluster import ClusterError
from ddml_kit.cluster.local.forked import ForkServer
from ddml_kit.cluster.processes import Processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")

SERVER = """
    import errno, os, pickle, socket
    from ddml_kit.cluster.local.forkserver import EXIT, Request, Server

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    watcher, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = Server(theirs)
"""


def python(source):
    """What a fresh interpreter prints that has a server."""
    code = textwrap.dedent(SERVER) + textwrap.dedent(source)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("listening", [True, False])
def test_a_run_of_which_no_worker_could_be_started_is_forgotten(listening):
    assert python(f"""
        def refuse():
            raise BlockingIOError(errno.EAGAIN, "no more processes")

        os.fork = refuse
        ours.send(pickle.dumps(Request(2, [], 3)))
        socket.send_fds(ours, [b"+"], [told.fileno(), 1, 2])
        told.close()
        listening = {listening}
        if not listening:
            watcher.close()
        server._fork()
        print(len(server._runs), len(server._selector.select(0)))
        if listening:
            print(*EXIT.unpack(watcher.recv(100)), *EXIT.unpack(watcher.recv(100)))
            print(watcher.recv(100) == b"")
    """) == ["0", "0", *(["0", "1011", "1", "1011", "True"] if listening else [])]


def test_a_child_that_a_library_leaves_is_none_of_its_workers():
    assert python("""
        child = os.fork()
        if child == 0:
            os._exit(3)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        [[key, _]] = server._selector.select(30)
        key.data()
        try:
            os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            print("reaped")
    """) == ["reaped"]


def fails_once(monkeypatch, number):
    """socket.send_fds raises this error the first time; how often it was called."""
    calls, send = [], socket.send_fds

    def send_fds(*args):
        calls.append(args)
        if len(calls) == 1:
            raise OSError(number, "not now")
        return send(*args)

    monkeypatch.setattr(socket, "send_fds", send_fds)
    return calls


def test_too_many_descriptors_under_way_are_waited_for(monkeypatch):
    before = ForkServer.running()
    calls = fails_once(monkeypatch, errno.ETOOMANYREFS)
    assert Processes(2).run(lambda comm: comm.rank).results == [0, 1]
    assert len(calls) >= 2
    assert ForkServer.running() is before


def test_a_server_that_got_half_a_request_is_replaced(monkeypatch):
    before = ForkServer.running()
    fails_once(monkeypatch, errno.EPERM)
    with pytest.raises(ClusterError, match="2 workers can't be started: not now"):
        Processes(2).run(lambda comm: comm.rank)
    assert before.process.poll() is not None
    assert Processes(2).run(lambda comm: comm.rank).results == [0, 1]
