"""The heap hands out what was freed last, gives idle pages back, and says when there is no more."""

import contextlib
import os
import resource
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_ranks import run

from ddml_kit.cluster.local import memory
from ddml_kit.cluster.local.memory import ALIGN, OFFSET, SHIFT, Heap, Views
from ddml_kit.cluster.local.results import FROM, Results
from ddml_kit.cluster.local.system import SEGMENT, Memory

BYTE = np.dtype(np.uint8)


@pytest.fixture
def shared():
    shared = Memory(2)
    yield shared
    shared.close()


def heap_of(shared, budget=1 << 30):
    return Heap(Views(shared, 1), 0, budget)


@given(st.lists(st.integers(1, 200_000), max_size=40), st.randoms(use_true_random=False))
def test_pieces_in_use_do_not_overlap(sizes, random):
    shared = Memory(2)
    heap, used = heap_of(shared, budget=300_000), {}
    for size in sizes:
        address = heap.take(size)
        assert address % ALIGN == 0
        assert all(address + size <= a or a + s <= address for a, s in used.items())
        used[address] = size
        if random.random() < 0.5:
            address = random.choice(list(used))
            heap.give(address)
            del used[address]
    shared.close()


def test_two_strands_that_first_touch_a_segment_have_one_map():
    together = threading.Barrier(2)

    class Slow:
        def segment(self, area, k):
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.2)  # for the other strand, if it may come here, too
            return object()

    views, found = Views(Slow(), 1), []
    threads = [threading.Thread(target=lambda: found.append(views[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] is found[1] is views[0]


def test_the_piece_freed_last_is_used_first(shared):
    heap = heap_of(shared)
    first, second = heap.take(5000), heap.take(5000)
    heap.give(first)
    heap.give(second)
    assert heap.take(5000) == second
    assert heap.take(4999) == first


def test_idle_pages_above_the_budget_go_back_to_the_system(shared):
    heap = heap_of(shared, budget=3 << 20)
    addresses = [heap.take(1 << 20) for _ in range(8)]
    for address in addresses:
        heap.views[address >> SHIFT][address & OFFSET : (address & OFFSET) + (1 << 20)] = bytes(
            1 << 20
        )
    full = os.fstat(shared.fd).st_blocks
    for address in addresses:
        heap.give(address)
    assert os.fstat(shared.fd).st_blocks * 512 <= full * 512 - (5 << 20)
    again = [heap.take(1 << 20) for _ in range(8)]
    assert again[:3] == addresses[:4:-1], "the warm ones first"
    assert sorted(again) == sorted(addresses)


def test_a_piece_longer_than_the_first_segment_is_in_one_segment(shared):
    heap = heap_of(shared)
    heap.take(100)
    address = heap.take(3 * SEGMENT)
    assert address >> SHIFT == 2
    assert len(heap.views[2]) == 4 * SEGMENT


def test_memory_that_runs_out_gets_a_sentence(shared, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100 << 20)
    heap = heap_of(shared)
    heap.take(30 << 20)
    with pytest.raises(MemoryError, match="rank 0 needs 42 MB more for messages: 38 MB are left"):
        heap.take(40 << 20)


def test_there_is_memory():
    assert memory.available() > 0
    assert 1 << 28 < memory.total() < 1 << 60


def test_a_limited_address_space_gets_a_sentence():
    def program(comm):
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        limit = (used + SEGMENT + (100 << 20), resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, limit)
        value = bytes(SEGMENT // 3)
        comm.send(value, 0)
        comm.send(value, 0)
        with pytest.raises(MemoryError, match="can't map 134 MB for messages: Cannot allocate"):
            comm.send(value, 0)
        return comm.recv().value == value  # what was sent before is still there

    assert run(1, program) == [True]


def test_results_use_memory_again_once_all_their_views_are_gone():
    results = Results()
    first = results.empty(FROM, BYTE)
    assert results.empty(3, BYTE).shape == (3,)
    view = first[5:].reshape(-1, 1)[3:]
    place = first.ctypes.data
    del first
    other = results.empty(FROM, BYTE)
    assert other.ctypes.data != place, "a view is still there"
    del view
    assert results.empty(FROM, BYTE).ctypes.data == place
