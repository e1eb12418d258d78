"""Knobs: which values they stop at, what they refuse, and in which words."""

import numpy as np
import pytest

from ddml_kit.notebook.knobs import Choice, Slider, Toggle, differing, settle

KNOBS = [
    Slider("workers", 1, 32, 8, log=True),
    Choice("waiting", ["BSP", "SSP", "ASP"], "SSP"),
    Slider("lr", 0.001, 1.0, 0.1, log=True, label="step size"),
    Toggle("lock", False),
]


@pytest.mark.parametrize(
    ("slider", "grid"),
    [
        (Slider("x", 1, 5, 3), [1, 2, 3, 4, 5]),
        (Slider("x", 0, 10, 4, step=4), [0, 4, 8]),
        (Slider("x", 1, 32, 8, log=True), [1, 2, 4, 8, 16, 32]),
        (Slider("x", 1, 1000, 10, log=True, step=10), [1, 10, 100, 1000]),
        (Slider("x", 0.01, 1.0, 0.1, log=True), [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        (Slider("x", 0.0, 0.3, 0.1, step=0.1), [0.0, 0.1, 0.2, 0.3]),
    ],
)
def test_a_slider_stops_at_round_values(slider: Slider, grid: list[float]) -> None:
    assert slider.grid() == grid
    assert all(type(x) is (int if slider.whole else float) for x in slider.grid())


def test_settings_are_complete_and_in_the_order_of_the_knobs() -> None:
    settings = settle(KNOBS, {"lr": np.float32(0.5), "workers": np.int64(4)})
    assert list(settings.items()) == [
        ("workers", 4),
        ("waiting", "SSP"),
        ("lr", 0.5),
        ("lock", False),
    ]
    assert type(settings["workers"]) is int


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"worker": 4}, "no knob is named 'worker'; there are workers, waiting, lr, lock"),
        ({"workers": 64}, "workers must be from 1 to 32, got 64"),
        ({"workers": 2.5}, "workers must be a whole number, got 2.5"),
        ({"workers": "4"}, "workers must be a number, got '4'"),
        ({"workers": True}, "workers must be a number, got True"),
        ({"lr": float("nan")}, "lr must be from 0.001 to 1.0, got nan"),
        ({"waiting": "bsp"}, "waiting must be one of BSP, SSP, ASP; got 'bsp'"),
        ({"lock": 1}, "lock must be True or False, got 1"),
    ],
)
def test_what_no_knob_takes_gets_a_sentence(given: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + sentence.replace("(", r"\(") + "$"):
        settle(KNOBS, given)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Slider("two words", 1, 2, 1), "must be that of a parameter of launch"),
        (lambda: Slider("x", 3, 3, 3), "low must be below high, got 3, 3"),
        (lambda: Slider("x", 0, 8, 1, log=True), "log needs low > 0, got 0"),
        (lambda: Slider("x", 1, 8, 1, log=True, step=1), "multiplies, so it must be above 1"),
        (lambda: Slider("x", 1, 8, 1, step=0), "step must be above 0, got 0"),
        (lambda: Slider("x", 1, 8, 9), "x must be from 1 to 8, got 9"),
        (lambda: Slider("x", 0, 10**6, 1), "at most 1000 steps, got 1000001"),
        (lambda: Choice("x", ["one"], "one"), "two or more distinct options, got"),
        (lambda: Choice("x", "abc", "a"), "two or more distinct options, got 'abc'"),
        (lambda: Choice("x", ["a", "b"], "c"), "x must be one of a, b; got 'c'"),
        (lambda: Toggle("x", 1), "x must be True or False, got 1"),
    ],
)
def test_a_wrong_declaration_gets_a_sentence(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        make()


def test_a_legend_names_what_differs() -> None:
    one, two = settle(KNOBS, {}), settle(KNOBS, {"lock": True, "lr": 0.5})
    assert differing(KNOBS, [one, two]) == ["step size 0.1, no lock", "step size 0.5, lock"]
    assert differing(KNOBS, [one, one]) == ["workers 8", "workers 8"]
    assert differing(KNOBS, [settle(KNOBS, {"waiting": "BSP"}), one]) == ["BSP", "SSP"]


def test_values_are_written_with_their_unit() -> None:
    assert Slider("delay", 0.0, 50.0, 10.0, unit="ms").text(10.0) == "10 ms"
    assert Slider("workers", 1, 4096, 8, log=True).text(4096) == "4,096"
