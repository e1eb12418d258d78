"""Local workers in a real notebook kernel: cells, an interrupt, a restart, a kill."""

import os
import signal
import sys
import time

import pytest
from jupyter_client.manager import start_new_kernel

DEFINITIONS = """
import os
from ddml_kit.cluster.processes import Processes

def helper(comm):
    print("rank", comm.rank, "is here")
    return comm.all_reduce(comm.rank)

def program(comm, answer):
    return helper(comm) + answer

def forever(comm):
    pids = comm.all_gather(os.getpid())
    if comm.rank == 0:
        print(pids)
    while True:
        pass

def broken(comm):
    return undefined + 1  # the line to be shown
"""
LONG = "Processes(2).run(forever)"
SERVER = "from ddml_kit.cluster.local.forked import ForkServer; print(ForkServer._one.process.pid)"
SOON = 30.0


class Notebook:
    def __init__(self):
        # under pytest, a kernel does not show what its child processes print
        env = {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=env)

    def run(self, code, until=None):
        """What the cell printed, and its traceback; with `until`, as soon as that is printed."""
        self.request = self.client.execute(code)
        return self.output(until)

    def output(self, until=None):
        """The same, of the cell that runs."""
        printed, error = "", ""
        while True:
            message = self.client.get_iopub_msg(timeout=SOON)
            content = message["content"]
            if message["parent_header"].get("msg_id") != self.request:
                continue
            if message["msg_type"] == "stream":
                printed += content["text"]
                if until is not None and until in printed:
                    return printed, error
            elif message["msg_type"] == "error":
                error = "\n".join(content["traceback"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return printed, error

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def notebook():
    notebook = Notebook()
    yield notebook
    notebook.close()


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids):
    deadline = time.monotonic() + SOON
    while any(map(is_there, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked up in /proc")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook(notebook):
    printed, error = notebook.run(DEFINITIONS)
    assert (printed, error) == ("", "")

    printed, error = notebook.run("print(Processes(2).run(program, 41).results)")
    assert error == ""
    assert sorted(printed.splitlines()) == ["[42, 42]", "rank 0 is here", "rank 1 is here"]

    _, error = notebook.run("Processes(2).run(broken)")
    assert "undefined + 1  # the line to be shown" in error
    assert "NameError: name 'undefined' is not defined" in error

    pids = eval(notebook.run(LONG, until="]")[0])
    notebook.manager.interrupt_kernel()
    assert "KeyboardInterrupt" in notebook.output()[1]
    wait_until_gone(pids)
    printed, _ = notebook.run("print(Processes(2).run(program, 41).results)")
    assert "[42, 42]" in printed

    notebook.run("def helper(comm): return 100 * comm.size")
    printed, _ = notebook.run("print(Processes(2).run(program, 41).results)")
    assert printed == "[241, 241]\n"

    server = int(notebook.run(SERVER)[0])
    pids = eval(notebook.run(LONG, until="]")[0])
    notebook.manager.restart_kernel(now=False)
    wait_until_gone([server, *pids])
    notebook.client.wait_for_ready(timeout=SOON)
    printed, error = notebook.run(DEFINITIONS + "print(Processes(2).run(program, 41).results)")
    assert error == ""
    assert "[42, 42]" in printed

    server = int(notebook.run(SERVER)[0])
    pids = eval(notebook.run(LONG, until="]")[0])
    os.kill(notebook.manager.provisioner.pid, signal.SIGKILL)
    wait_until_gone([server, *pids])
