"""torch.distributed's groups of processes, as a run needs them; none is the default group.

A program may use torch.distributed for itself, so the kit leaves its default group alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, ProcessGroupGloo, Store

EVER = timedelta(days=3650)  # a wait that gloo gives up breaks all connections
CONNECTING = timedelta(seconds=300)  # in which all have to be there; gloo can't be interrupted


def until_done(work: Any) -> None:
    """Wait for this work of gloo's, however long. Raises RuntimeError if the peer is gone."""
    work.wait(EVER)


class Groups:
    """Makes groups of the ranks of one run.

    address: of this host, at which the others find it. None: what GLOO_SOCKET_IFNAME or the host's
    name says.
    """

    def __init__(self, store: Store, rank: int, size: int, address: str | None = None) -> None:
        self.rank, self.size = rank, size
        self._store, self._address = store, address

    def gloo(self, label: str, position: int, size: int) -> Any:
        """Connections among `size` ranks that all ask for this label; waits for them.

        Raises RuntimeError if one does not connect. gloo keeps that patience for whatever is not
        told another one, so what waits here says EVER: `until_done`, and a collective's options.
        """
        store = PrefixStore(label, self._store)
        gloo: Any = ProcessGroupGloo  # of which torch's stubs know little
        if self._address is None:
            return gloo(store, position, size, CONNECTING)
        options = gloo._Options()
        options._timeout = CONNECTING
        options._devices = [gloo.create_device(hostname=self._address)]
        return gloo(store, position, size, options)

    def nccl(self, label: str, position: int, size: int) -> Any:
        """The same among their GPUs; they connect when they first talk."""
        from torch.distributed import ProcessGroupNCCL

        nccl: Any = ProcessGroupNCCL
        options = nccl.Options()
        options._timeout = EVER
        return nccl(PrefixStore(label, self._store), position, size, options)

    def all_say(self, subject: str, mine: bool) -> bool:
        """Whether all ranks say yes; if this one does, it waits for what the others say."""
        store = PrefixStore(subject, self._store)
        store.set(str(self.rank), "yes" if mine else "no")
        return mine and all(store.get(str(rank)) == b"yes" for rank in range(self.size))
