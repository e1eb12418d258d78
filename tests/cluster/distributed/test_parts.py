"""The parts of Torchrun that need no processes: who waits for whom, who calls what, whose clock."""

from __future__ import annotations

import pickle
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from torch.distributed import HashStore, PrefixStore

from ddml_kit.cluster import ANY, ClusterError
from ddml_kit.cluster.distributed import groups
from ddml_kit.cluster.distributed import world as worlds
from ddml_kit.cluster.distributed.clock import Sample, offset
from ddml_kit.cluster.distributed.inbox import Inbox
from ddml_kit.cluster.distributed.links import MESSAGE, Frame
from ddml_kit.cluster.distributed.locks import FREE, GRANT, HELD, WANT, Locks, RankLock
from ddml_kit.cluster.distributed.meetings import PHASES, Meeting, number_of, tag_of
from ddml_kit.cluster.distributed.member import join
from ddml_kit.cluster.distributed.outcome import unpack
from ddml_kit.cluster.distributed.reports import Dead, Reins, Report, Stop
from ddml_kit.cluster.distributed.waiting import Waiter
from ddml_kit.cluster.distributed.world import Place, World
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.watch import Terms
from ddml_kit.cluster.shipping import pack

TOLD = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


# ---------------------------------------------------------------------------- deadlock


class Ranks:
    """What three ranks report to their watcher."""

    def __init__(self):
        self.told = []
        self.reins = Reins(3, lambda rank, command: self.told.append((rank, command)))

    def report(self, rank, says, sent=(0, 0, 0), received=(0, 0, 0), closed=(), heard=0):
        self.reins.hear(Report(rank, says, sent, received, frozenset(closed), heard))

    def all_wait(self):
        self.report(0, "waits for a message from rank 1", sent=(0, 2, 0))
        self.report(1, "waits for a message from rank 2", received=(2, 0, 0))
        self.report(2, "has finished")


def test_ranks_that_all_wait_with_nothing_under_way_are_deadlocked():
    ranks = Ranks()
    assert ranks.reins.deadlock() is None  # nobody has said anything yet
    ranks.all_wait()
    assert ranks.reins.deadlock() == (
        "rank 0 waits for a message from rank 1; rank 1 waits for a message from rank 2; "
        "rank 2 has finished"
    )


def test_a_rank_that_computes_or_a_frame_under_way_is_no_deadlock():
    ranks = Ranks()
    ranks.all_wait()
    ranks.report(1, "")
    assert ranks.reins.deadlock() is None
    ranks.report(1, "waits for a message from rank 2", received=(1, 0, 0))
    assert ranks.reins.deadlock() is None
    ranks.report(1, "waits for a message from rank 2", received=(2, 0, 0))
    ranks.report(2, "has finished", sent=(1, 0, 0))  # after rank 0 has reported
    assert ranks.reins.deadlock() is None


def test_ranks_that_have_all_ended_are_no_deadlock():
    ranks = Ranks()
    for rank in range(3):
        ranks.report(rank, "has finished")
    assert ranks.reins.deadlock() is None


def test_a_failure_of_which_the_watcher_has_yet_to_hear_is_no_deadlock():
    ranks = Ranks()
    ranks.all_wait()
    ranks.report(2, "has failed")
    assert ranks.reins.deadlock() is None


def test_who_has_yet_to_hear_of_a_death_is_not_deadlocked():
    ranks = Ranks()
    ranks.all_wait()
    ranks.reins.mark_dead(2, "no", 1.5)
    assert ranks.told == [(rank, Dead(2, "no", 1.5)) for rank in range(3)]
    assert ranks.reins.deadlock() is None
    ranks.report(0, "waits for a message from rank 1", sent=(0, 2, 0), heard=1, closed=[2])
    ranks.report(1, "waits for a message from rank 2", received=(2, 0, 0), heard=1)
    assert ranks.reins.deadlock() is None  # something of rank 2 may still come to rank 1
    ranks.report(1, "waits for a message", received=(2, 0, 5), heard=1, closed=[2])
    assert "rank 2 has failed" in ranks.reins.deadlock()


def test_a_stop_is_told_to_all():
    ranks = Ranks()
    ranks.reins.stop()
    assert ranks.told == [(rank, Stop()) for rank in range(3)]


# ------------------------------------------------------------------------------- calls


def test_tags_of_collectives_are_of_no_program_and_of_no_other():
    tags = [tag_of(number, phase) for number in range(100) for phase in range(PHASES)]
    assert len(set(tags)) == len(tags)
    assert max(tags) < ANY
    assert [number_of(tag) for tag in tags] == [i // PHASES for i in range(len(tags))]


def test_who_calls_something_else_is_odd_whether_it_comes_before_or_after():
    early, late = Meeting(), Meeting()
    early.hear(2, 0, b"barrier", True, 0)
    assert early.odd is None
    early.begin(b"lock", (0, 2))
    late.begin(b"lock", (0, 2))
    late.hear(2, 0, b"barrier", True, 0)
    for meeting in (early, late):
        assert meeting.odd == (2, b"barrier")
        assert "rank 0 called lock, rank 2 barrier" in str(meeting.mismatch(0))


def test_the_same_call_or_one_that_is_over_is_not_odd():
    meeting = Meeting()
    meeting.hear(1, 0, b"barrier", True, 0)
    meeting.begin(b"barrier", (0, 1))
    meeting.end(0)
    meeting.begin(b"lock", (0, 1))
    meeting.hear(1, 0, b"all_gather", True, 0)
    assert meeting.odd is None
    assert meeting.late is None
    assert [meeting.said(number) for number in (0, 1, 2)] == [b"barrier", b"lock", None]


# ------------------------------------------------------------------------------- inbox


def frame(tag, text=b"", context=0):
    return Frame(MESSAGE, context, tag, text, 0, 0, 0, b"", 0, None)


def test_any_takes_the_first_that_a_program_has_sent():
    inbox = Inbox()
    inbox.put(1, frame(tag_of(0, 0), b"of a collective"))
    inbox.put(2, frame(7, b"first"))
    inbox.put(1, frame(3, b"second"))
    inbox.put(2, frame(7, b"third"))
    inbox.put(2, frame(7, b"elsewhere", context=5))
    assert inbox.find(ANY, 4, 0) is None
    assert inbox.find(1, ANY, 0) == (1, 3)
    taken = [inbox.take(ANY, ANY, 0) for _ in range(3)]
    assert [(source, f.text) for source, f in taken] == [
        (2, b"first"),
        (1, b"second"),
        (2, b"third"),
    ]
    assert inbox.take(ANY, ANY, 0) is None
    assert inbox.take(1, tag_of(0, 0), 0) is not None


def test_what_is_left_of_collectives_is_dropped_and_nothing_else():
    inbox = Inbox()
    for tag in (5, tag_of(0, 1), tag_of(1, PHASES - 1), tag_of(2, 0)):
        inbox.put(1, frame(tag))
    inbox.drop(0, tag_of(2, 0))
    assert [inbox.find(1, tag, 0) is not None for tag in (5, tag_of(1, 3), tag_of(2, 0))] == [
        True,
        False,
        True,
    ]
    assert inbox.sources(0) == {1}


# ------------------------------------------------------------------------------- locks


def test_a_lock_goes_to_those_who_wait_in_their_order_past_the_dead():
    told = []
    locks = Locks(0, lambda *what: told.append(what))
    for rank in (1, 2, 3, 4):
        locks.hear(9, WANT, rank)
    assert told == [(1, 9, GRANT, 1), *((rank, 9, HELD, 1) for rank in (2, 3, 4))]
    told.clear()
    locks.bury(2)  # who waits
    locks.bury(1)  # who holds it
    assert told == [(3, 9, GRANT, 3), (4, 9, HELD, 3)]
    told.clear()
    locks.hear(9, FREE, 3)
    locks.ask(0, 9)  # the one who grants it wants it, too
    assert told == [(4, 9, GRANT, 4)]
    assert locks.holder[9] == 4
    locks.hear(9, FREE, 4)
    assert locks.granted == {9}


def test_who_looks_whether_a_strand_can_go_on_takes_no_lock_for_it():
    waiter, entered = Waiter(SimpleNamespace(number=0), lambda says: None), []

    class Nosy:
        """The rank's lock; before anybody wakes, one looks who can go on."""

        def __enter__(self):
            waiter.changed.acquire()

        def __exit__(self, *_):
            waiter.changed.release()

        def notify_all(self):
            assert any(wait.ready() for wait in waiter._waits)
            waiter.changed.notify_all()

    locks = Locks(0, lambda *_: None)
    post = SimpleNamespace(rank=0, locks=locks, waiter=waiter, changed=Nosy())
    post.hopeless = lambda *_: []
    lock = RankLock(7, 0, post, entered.append, lambda: None)

    def second():
        lock.__enter__()

    with lock:
        strand = threading.Thread(target=second, daemon=True)
        strand.start()
        while not waiter._waits:
            strand.join(0.001)
    strand.join(10)
    assert len(entered) == 2


# ------------------------------------------------------------------------------- clock


def test_the_fastest_round_trip_sets_the_clock():
    slow = Sample(asked=100.0, answered=100.8, theirs=7.7)
    fast = Sample(asked=101.0, answered=101.2, theirs=8.1)
    assert offset([slow, fast]) == pytest.approx(93.0)


def test_what_may_be_an_error_is_no_difference():
    assert offset([Sample(asked=5.0, answered=5.2, theirs=5.19)]) == 0.0
    assert offset([Sample(asked=5.0, answered=5.2, theirs=5.21)]) == pytest.approx(-0.11)


# ------------------------------------------------------------------------------- world


def test_what_torchrun_tells_a_process():
    assert World.of({}) is None
    assert World.of({k: v for k, v in TOLD.items() if k != "MASTER_PORT"}) is None
    assert World.of(TOLD) == World(1, 3, "10.0.0.1", 29500, keeps_store=False)
    first = World.of(TOLD | {"RANK": "0"})
    assert first is not None
    assert first.keeps_store
    agent = World.of(TOLD | {"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert agent is not None
    assert not agent.keeps_store


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"RANK": "3"}, "RANK must be from 0 to WORLD_SIZE - 1 = 2, got 3"),
        ({"RANK": "x"}, "RANK, WORLD_SIZE, MASTER_PORT must be numbers: .*'x'"),
        ({"MASTER_PORT": ""}, "must be numbers"),
    ],
)
def test_what_torchrun_cannot_have_told(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        World.of(TOLD | wrong)


def meeting_of(*whats):
    """What becomes of ranks that meet in threads, each about to run what is given."""
    store, outcomes = HashStore(), {}

    def meet(rank, what):
        place = Place(World(rank, len(whats), "", 0, False), store)
        try:
            place.meet(what)
        except (ClusterError, ValueError) as error:
            outcomes[rank] = str(error)
        else:
            outcomes[rank] = "met"

    threads = [threading.Thread(target=meet, args=pair) for pair in enumerate(whats)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_ranks_meet_for_the_same_run():
    assert meeting_of("train", "train", "train") == {0: "met", 1: "met", 2: "met"}
    assert meeting_of("train", "train", "test") == {
        rank: f"all ranks must begin the same run: rank {rank} begins {mine}, rank {r} {other}"
        for rank, mine, r, other in [
            (0, "train", 2, "test"),
            (1, "train", 2, "test"),
            (2, "test", 0, "train"),
        ]
    }


def test_a_rank_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(worlds, "PATIENCE", 0.05)
    store = HashStore()
    PrefixStore("ddml_kit/run 1", store).set("rank 2", "train")
    with pytest.raises(ClusterError) as caught:
        Place(World(0, 3, "", 0, False), store).meet("train")
    assert str(caught.value) == (
        "rank 1 did not come to run 1 within 0.05 s: every process that torchrun starts must call "
        "run, as often as the others"
    )


def test_a_rank_that_never_connects_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(groups, "CONNECTING", timedelta(seconds=0.2))
    for address in ("127.0.0.1", None):
        with pytest.raises(RuntimeError, match="timeout"):
            groups.Groups(HashStore(), 0, 2, address).gloo("up", 0, 2)


# ------------------------------------------------------------------------------ member


class Alone:
    """A fabric to whose rank nobody ever answers."""

    rank, size, links, groups = 1, 2, {}, None

    def listen(self, control, over, lost):
        self.lost = lost

    def close(self):
        pass


def test_a_rank_that_asks_for_the_time_hears_of_the_end_of_rank_0():
    fabric = Alone()
    terms = Terms(size=2, seed=0, badge="measured", goes_on=False, crashes={})
    member = join(fabric, terms, Freight(pack(print, (), {})), pickle.dumps(()), False)
    fabric.lost(0)
    assert member.join(20)
    with pytest.raises(ClusterError, match="rank 0 failed"):
        unpack(member.told, member.trace)
