"""Two hosts on one machine: network namespaces joined by a cable with a rate.

    with two_hosts(rate=12.5e6) as hosts:
        torchrun(hosts, 2, ["-m", "my_program"], timeout=60)

Each host has a network of its own, processes of its own and its own view of them (Linux
namespaces); the cable is a veth pair, and each end lets out no more than `rate` bytes a second
(tbf, the token bucket filter of tc). The files are the machine's, and so are its cores. TCP is as
on any Linux (CUBIC), and hands down no more than two packets at once: 64 KB, as it likes to on
a virtual cable, would hold a slow one for milliseconds, which no short message could pass.

Nothing has a name, so nothing has to be cleaned up: a host lives as long as its first process,
which reads from a pipe that this process holds. When the pipe closes, be it that this process was
killed, the kernel ends all that runs on the host, and its network and the cable go with it.

It needs Linux with iproute2 and util-linux, and the rights of root; where user namespaces are
allowed to everyone, it takes those from them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

NEEDED = ("ip", "tc", "unshare", "nsenter")  # commands
NET, ADDRESSES = "10.0.0.0/24", ("10.0.0.1", "10.0.0.2")
CABLE = "eth0"  # what each host calls its end
PORT = 29500  # of the first host, where torchrun's processes meet
SEGMENT = 3000  # bytes that are handed down at once
BURST = 2000  # bytes that pass at once after a pause: one packet of 1,514, and what a timer is late
QUEUE = 16_000_000  # bytes that may wait for the cable; TCP sends no more ahead, so none is dropped
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Orphans become children of the first process; as it ignores them, they leave no zombies.
FIRST = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(flush=True)
sys.stdin.read()
"""
PATIENCE = 10.0  # seconds that a step of making a host may take
LOOK = 0.05  # seconds between two looks whether torchrun has ended


class NoHosts(RuntimeError):
    """Why hosts can't be made here, in a sentence."""


@dataclass(frozen=True)
class Host:
    """A host: its address on the cable, its first process, and the command that enters it."""

    address: str
    pid: int  # as seen from outside
    enter: Sequence[str]

    def start(self, command: Sequence[str], output: IO[bytes], **env: str) -> subprocess.Popen:
        """The command as a process on this host, in this folder; it prints to `output`."""
        return subprocess.Popen(
            [*self.enter, "env", "--chdir", os.getcwd(), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
        )

    def clear(self) -> None:
        """End all that still runs here."""
        kill = ["sh", "-c", "kill -KILL -1 2>/dev/null"]  # which finds nothing where nothing runs
        subprocess.run([*self.enter, *kill], check=False, timeout=PATIENCE)


@contextmanager
def two_hosts(rate: float) -> Iterator[tuple[Host, Host]]:
    """Two hosts joined by a cable of `rate` bytes a second each way. Raises NoHosts."""
    if sys.platform != "linux":
        raise NoHosts(f"two hosts need the namespaces of Linux, this is {sys.platform}")
    missing = [command for command in NEEDED if shutil.which(command) is None]
    if missing:
        raise NoHosts(f"two hosts need {', '.join(NEEDED)}; there is no {', '.join(missing)}")
    with ExitStack() as stack:
        if os.geteuid() == 0:
            first, second = (_host(stack, address, ["unshare"]) for address in ADDRESSES)
        else:  # the second has the rights of the first, or there could be no cable between them
            first = _host(stack, ADDRESSES[0], ["unshare", "--user", "--map-root-user"])
            join = ["nsenter", "--target", str(first.pid), "--user", "--preserve-credentials"]
            second = _host(stack, ADDRESSES[1], [*join, "unshare"])
        cable = f"ip link add {CABLE} type veth peer name {CABLE} netns {second.pid}"
        _do([*_enter(first.pid, "--net"), *cable.split()])
        for host in (first, second):
            for command in (
                "ip link set lo up",
                f"ip address add {host.address}/24 dev {CABLE}",
                f"ip link set {CABLE} up gso_max_size {SEGMENT}",
                f"ip route replace {NET} dev {CABLE} congctl cubic",
                f"tc qdisc add dev {CABLE} root tbf rate {round(8 * rate)}bit burst {BURST} "
                f"limit {QUEUE}",
            ):
                _do([*host.enter, *command.split()])
        yield first, second


def torchrun(
    hosts: Sequence[Host], processes: int, program: Sequence[str], timeout: float
) -> list[str]:
    """What each host printed while torchrun ran `program` there, so many processes on each.

    program: what follows torchrun's own options, such as ["-m", "module", "argument"].
    Raises RuntimeError, with what was printed, when torchrun ends with an error on one host (it is
    then ended on all) or goes on for longer than `timeout` seconds.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in hosts]
        started = []
        for node, (host, file) in enumerate(zip(hosts, files, strict=True)):
            options = [f"--nnodes={len(hosts)}", f"--node-rank={node}"]
            options += [f"--nproc-per-node={processes}"]
            options += [f"--master-addr={hosts[0].address}", f"--master-port={PORT}"]
            command = [sys.executable, "-m", "torch.distributed.run", *options, *program]
            started.append(host.start(command, file, GLOO_SOCKET_IFNAME=CABLE, **ONE_THREAD))
            stack.callback(started[-1].wait)
            stack.callback(host.clear)
        deadline = time.monotonic() + timeout
        while (codes := [process.poll() for process in started]) != [0] * len(hosts):
            failed = any(codes)
            if failed or time.monotonic() > deadline:
                why = f"ended with {codes}" if failed else f"went on for more than {timeout:g} s"
                raise RuntimeError("\n".join([f"torchrun {why}", *map(_text, files)]))
            time.sleep(LOOK)
        return [_text(file) for file in files]


def _host(stack: ExitStack, address: str, unshare: Sequence[str]) -> Host:
    """A host without a cable, made by `unshare`; it ends with the stack."""
    separate = ["--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [*unshare, *separate, sys.executable, "-I", "-S", "-c", FIRST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # an interrupt is for this process, which then ends the hosts
    )
    stack.enter_context(process)  # which closes its pipes, and waits
    assert process.stdout is not None
    assert process.stderr is not None
    if not process.stdout.readline():  # it writes when all is separate
        why = process.stderr.read().decode().strip()
        raise NoHosts(f"no host can be made here, for which one must be root: {why}")
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf8") as file:
        pid = int(file.read())
    return Host(address, pid, _enter(pid, "--net", "--pid", "--mount"))


def _enter(pid: int, *namespaces: str) -> list[str]:
    """The command that runs another in these namespaces of a process."""
    rights = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", "--target", str(pid), *rights, *namespaces]


def _do(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise NoHosts(f"no hosts can be joined here, {' '.join(command)}: {done.stderr.strip()}")


def _text(file: IO[bytes]) -> str:
    """What has been printed into a file so far."""
    file.seek(0)
    return file.read().decode(errors="replace")
