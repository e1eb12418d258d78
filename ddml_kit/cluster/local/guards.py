"""What keeps a worker modest: it ends with its parent, computes with one thread, and starts no
workers while it is loading its program.

Without a guard, workers and the server that forks them outlive a killed parent for ever.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextvars import ContextVar
from multiprocessing import connection

# Whether this worker is loading its program, and with it the modules that define it. One that
# starts workers when it is imported would do so in each of them, and in theirs, without end.
LOADING: ContextVar[bool] = ContextVar("LOADING", default=False)

ONE_THREAD = {  # libraries read these when they are loaded
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


def end_with(pipe: int, *, group: bool = False) -> None:
    """Have this process, or its process group, killed once the last writer of `pipe` is gone.

    pipe: the reading end of a pipe in which nothing is ever written (on Windows, the handle of
    the parent). On Linux the kernel itself sends the SIGKILL, so it comes in milliseconds and
    reaches a process that computes, or is stopped. Elsewhere a thread waits for the parent.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp() if group else os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
        if _hung_up(pipe):  # it was closed before the signal was armed
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        threading.Thread(target=_wait_and_end, args=(pipe,), daemon=True).start()


def compute_with_one_thread() -> None:
    """One thread for BLAS, torch and numba in this process, whether loaded already or later."""
    os.environ.update(ONE_THREAD)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def kill_self() -> None:
    """End this process at once; nothing of it runs after this."""
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)  # 128 + 9, what a shell reports of a killed process


def _hung_up(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _wait_and_end(pipe: int) -> None:
    connection.wait([pipe])
    os._exit(1)
