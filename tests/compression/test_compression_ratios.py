"""What the benchmark of compression makes of its times."""

from benchmarks import compression


def test_of_two_ways_to_write_a_formula_the_faster_counts():
    taken = {
        "sign": {
            "ours encode": 1.0,
            "ours decode": 1.0,
            "torch_0 encode": 9.0,
            "torch_0 decode": 1.0,
            "torch_1 encode": 4.0,
            "torch_1 decode": 2.0,
            "torch_all_0 encode": 3.0,
            "torch_all_0 decode": 1.0,
        },
        "qsgd_elias": {"ours encode": 1.0, "ours decode": 1.0},
    }
    assert compression.ratios(taken) == {"sign": 3.0, "sign_all_cores": 2.0}
