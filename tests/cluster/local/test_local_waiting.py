"""How a rank looks before it sleeps."""

import numpy as np
from local_ranks import run

from ddml_kit.cluster.local.waiting import FEWEST, GLANCES


def test_words_at_several_places_are_all_looked_at():
    def program(comm):
        waiter, words = comm._endpoint._waiter, memoryview(np.array([5, 9, 3, 7]))
        return [
            waiter.look_at(words, places, least)
            for places, least in (([0, 1, 3], 5), ([0, 1, 2], 4), ([2], 3), ([1, 2, 0], 5))
        ]

    assert run(1, program) == [[True, False, True, False]]
    assert run(5, program) == [[True, False, True, False]] * 5, "where ranks share cores"


def test_a_rank_that_looks_in_vain_looks_less_often_and_tries_again_more_and_more_seldom():
    def program(comm):
        waiter, words, tries, looks = comm._endpoint._waiter, memoryview(np.zeros(1, int)), [], []
        waiter._spread = lambda: tries.append(1 + len(looks))
        for _ in range(800):
            assert not waiter.look_at(words, [0], 1)
            looks.append(waiter._glances)
        assert waiter.look_at(words, [0], 0)
        return tries, looks[:8], waiter._glances

    [(tries, looks, after)] = run(1, program)
    assert tries == [8, 24, 56, 120, 248, 504, 760]
    assert looks == [GLANCES // 2, GLANCES // 4, *[FEWEST] * 5, GLANCES]
    assert after == GLANCES
