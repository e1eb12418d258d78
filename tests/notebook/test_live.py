"""A live figure: what is asked is answered, by call and by the page."""

from __future__ import annotations

import pytest

from ddml_kit.notebook import lines
from ddml_kit.notebook.knobs import Choice, Slider
from ddml_kit.notebook.live import Live, Shown


@pytest.fixture
def live():
    def draw(n: int, sign: str) -> Shown:
        if n == 7:
            raise ValueError("7 is refused")
        y = n if sign == "plus" else -n
        return Shown({"answer": str(y)}, lines({"it": ([1, 2], [y, y])}, x="x", y="y"))

    knobs = [Slider("n", 1, 9, 2), Choice("sign", ["plus", "minus"], "plus")]
    made = Live(draw, knobs, title="A number", badge="simulated", presets={"nine": {"n": 9}})
    yield made
    made.close()


def test_a_call_answers_and_moves_the_knobs(live: Live) -> None:
    assert live.front.state["answers"] == [("answer", "2")]
    assert live.show(n=5, sign="minus").answers == {"answer": "-5"}
    assert live.front.state["answers"] == [("answer", "-5")]
    assert live.front.settings["values"] == {"n": 5, "sign": "minus"}
    assert "-5 at 1" in live.front.figure
    live.show(sign="minus")
    assert live.front.settings["values"]["n"] == 2
    with pytest.raises(ValueError, match="n must be from 1 to 9, got 10"):
        live.show(n=10)


def test_a_message_of_the_page_is_answered_by_its_number(live: Live) -> None:
    turn = live.front.settings["turn"]
    live._moved(live.front, {"settings": {"n": 3, "sign": "plus"}, "sent": 1}, [])
    assert live.front.state == {"answers": [("answer", "3")], "alert": "", "sent": 1}
    assert live.front.settings["turn"] == turn  # the page's own knobs are left alone
    live._moved(live.front, {"settings": {}, "sent": 2, "preset": "nine"}, [])
    assert live.front.state["answers"] == [("answer", "9")]
    assert live.front.settings == {"values": {"n": 9, "sign": "plus"}, "turn": turn + 1}


def test_what_goes_wrong_is_a_sentence_on_the_page_and_the_next_answer_comes(live: Live) -> None:
    live._moved(live.front, {"settings": {"n": 7}, "sent": 1}, [])
    assert live.front.state == {"answers": [("answer", "2")], "alert": "7 is refused", "sent": 1}
    live._moved(live.front, {"settings": {"n": 8}, "sent": 2}, [])
    assert live.front.state == {"answers": [("answer", "8")], "alert": "", "sent": 2}


def test_words_say_what_it_is(live: Live) -> None:
    assert repr(live) == "A number, live, with the knobs n, sign. Run this cell to use it."
