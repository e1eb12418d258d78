"""Every name that the command line offers, asked for once."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.command import settings
from ddml_kit.command.calls import call
from ddml_kit.command.options import Parser
from ddml_kit.command.places import add_options, chosen, stragglers
from ddml_kit.command.report import COUNTED, model
from ddml_kit.command.rooms import SUPPLIED, choices, programs
from ddml_kit.command.tasks import tasks
from ddml_kit.training import parameter_server, waiting
from ddml_kit.training.hogwild import hogwild, locked, round_robin
from ddml_kit.training.topic_model import topic_model

RANKS = 3  # a worker more than a server, a switch or two racks need
FIT = {"Logistic": "sparse_logistic:200,100,5", "Corpus": "library_words:fewest=300"}
NEEDED = {  # settings that a thing can't do without
    "cosine": "300",
    "growing": "4,2,after=1+2,samples=10",
    "hierarchical": "2",
    "ssp": "2",
    "step_decay": "20+50,0.5",
    "warm_up": "10,0.1",
    "pareto": "1.5",
    "transient": "1,0,1,3",
    "power_sgd": "1",
    "shared_entries": "0.5,feedback=yes",
    "atomo": "2",
    "mantissa": "4",
    "qsgd": "4",
    "random_k": "0.5",
    "threshold": "0.01",
    "top_k": "1,feedback=yes",
    "torus": "1,3",
    "dirichlet": "1,0",
    "shuffled": "0",
    "centred_clipping": "9",
    "norm_clipping": "9",
}
UNFIT = ("social_network",)  # it has 32 nodes
SLOW = {**NEEDED, "constant": "1:3.0"}


def parsed(name: str, *words: str):
    """A program, something that it can learn, and the call that these options ask for."""
    program = programs()[name]
    parser = Parser(prog=name)
    add_options(parser)
    settings.add_options(parser, program)
    task = call(FIT.get(program.needs.__name__, "quadratic:4,30"), tasks(), "problem")
    return program, task, settings.arguments(parser.parse_args(words), program, task)


def worth(name: str, *words: str):
    """What the model is worth after such a run, and how it was asked for."""
    program, task, asked = parsed(name, *words)
    run = Simulated(RANKS).run(program.function, *asked.args, **asked.kwargs)
    figure = next(iter(task.figures(asked.about).values()))
    return figure(model(run)), asked


def counted(name: str, number: int) -> list[str]:
    """The option for so many steps, whatever the program calls them."""
    return [f"--{s.name}={number}" for s in programs()[name].settings if s.name in COUNTED]


def askable(kind: str) -> list[str]:
    """The things of a kind that can be asked for, with what they can't do without."""
    return [
        f"{name}:{NEEDED[name]}" if name in NEEDED else name
        for name, one in choices()[kind].items()
        if name in NEEDED or all(s.name in SUPPLIED or not s.required for s in one.settings)
    ]


def test_the_programs_of_training_are_found() -> None:
    known = programs()
    for function in (hogwild, locked, round_robin, topic_model, parameter_server.parameter_server):
        assert known[function.__name__].function is function
    for helper in ("work", "descend", "add_unlocked", "synchronous", "ping_pong", "timed"):
        assert helper not in known


@pytest.mark.parametrize("name", list(programs()))
def test_a_program_runs_as_it_is(name: str) -> None:
    value, asked = worth(name, *counted(name, 3))
    assert np.isfinite(value)
    assert {setting.name for setting in programs()[name].settings} <= asked.about.keys()
    assert asked.given == {option.strip("-").partition("=")[0]: "3" for option in counted(name, 3)}


@pytest.mark.parametrize("name", list(programs()))
def test_every_setting_of_a_program_can_be_given(name: str) -> None:
    for setting in programs()[name].settings:
        assert setting.reader or setting.name in choices(), setting.name


@pytest.mark.parametrize("text", askable("optimiser"))
def test_an_optimiser_descends(text: str) -> None:
    value, asked = worth("data_parallel", "--optimiser", text, "--lr=0.01", "--steps=60")
    assert value < worth("data_parallel", "--steps=0")[0]
    assert asked.about["optimiser"].startswith(text)
    assert asked.about["lr"] == 0.01


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        *(("reducer", text, "data_parallel") for text in askable("reducer")),
        *(("schedule", text, "data_parallel") for text in askable("schedule")),
        *(("batch_size", text, "data_parallel") for text in askable("batch_size")),
        *(("overflow", text, "switched") for text in askable("overflow")),
        *(("damping", text, "parameter_server") for text in askable("damping")),
        *(("waiting", text, "parameter_server") for text in askable("waiting")),
        *(("rule", text, "server_less") for text in askable("rule")),
        *(("attack", text, "robust_server") for text in askable("attack")),
        *(("poison", text, "kardam") for text in askable("poison")),
    ],
)
def test_a_program_learns_with_each_of_its_choices(kind: str, text: str, name: str) -> None:
    value, asked = worth(name, f"--{kind.replace('_', '-')}", text)
    assert value < worth(name, *counted(name, 0))[0]
    assert asked.about[kind].split(":")[0] == text.split(":")[0]
    assert asked.given == {kind: text}


@pytest.mark.parametrize("text", askable("split"))
def test_samples_can_be_shared_out_by_name(text: str) -> None:
    program, _, asked = parsed("d_sgd", "--split", text, "--topology=star", "--steps=30")
    task = call("sparse_logistic:200,100,5", tasks(), "problem")
    run = Simulated(RANKS).run(program.function, task.train, *asked.args[1:], **asked.kwargs)
    figure = next(iter(task.figures(asked.about).values()))
    assert figure(model(run)) < figure(task.train.initial())
    assert asked.about["split"].split(":")[0] == text.split(":")[0]
    assert asked.about["topology"] == "star"


def test_a_topology_of_another_size_is_refused() -> None:
    with pytest.raises(RankFailed, match=r"\(n, n\) for n ranks, got \(32, 32\) for 3"):
        worth("d_sgd", "--topology=social_network")


def test_schedules_multiply_and_a_batch_size_may_be_a_number_or_a_name() -> None:
    words = ("--schedule", "warm_up:4,0.5", "--schedule", "step_decay:2,0.5", "--batch-size=5")
    *_, asked = parsed("data_parallel", *words)
    factors = [asked.kwargs["schedule"](step) for step in range(6)]
    assert factors == [0.5, 0.625, 0.375, 0.4375, 0.5, 0.5]
    assert asked.about["schedule"] == ["warm_up:steps=4,start=0.5", "step_decay:at=2,factor=0.5"]
    assert asked.kwargs["batch_size"] == asked.about["batch_size"] == 5
    *_, asked = parsed("data_parallel", "--batch-size", "growing:4,2,1,10")
    assert [asked.kwargs["batch_size"](step) for step in range(5)] == [4, 4, 4, 8, 8]
    with pytest.raises(ValueError, match=r"batch_size must be a whole number, got '1\.5'"):
        parsed("data_parallel", "--batch-size=1.5")
    with pytest.raises(ValueError, match="there is no batch_size 'large'; there are growing"):
        parsed("data_parallel", "--batch-size=large")


def test_every_codec_is_a_reducer_and_every_reducer_of_training_has_a_name() -> None:
    codecs = set(choices()["codec"])
    assert {"atomo", "one_bit", "qsgd", "sign", "sketch", "tern_grad", "top_k"} <= codecs
    assert codecs | {"mean", "ring", "power_sgd", "shared_entries"} <= set(choices()["reducer"])
    *_, asked = parsed("data_parallel", "--reducer", "top-k:0.5,feedback=yes")
    assert asked.about["reducer"] == "top_k:k=0.5,feedback=yes"
    *_, asked = parsed("data_parallel", "--reducer", "power_sgd:2,warm_start=no")
    assert asked.about["reducer"] == "power_sgd:rank=2,feedback=yes,warm_start=no"
    *_, asked = parsed("data_parallel", "--reducer", "qsgd:4")
    assert asked.about["reducer"] == "qsgd:levels=4,bucket=none,feedback=no"


def test_every_policy_of_waiting_can_be_asked_for() -> None:
    classes = [value for value in vars(waiting).values() if inspect.isclass(value)]
    policies = {c for c in classes if issubclass(c, waiting.Waiting) and c is not waiting.Waiting}
    made = {type(call(text, choices()["waiting"], "waiting")) for text in askable("waiting")}
    assert made == policies


@pytest.mark.parametrize("name", list(stragglers()))
def test_every_model_of_stragglers_slows_a_run(name: str) -> None:
    parser = Parser(prog="ddml-kit")
    add_options(parser)
    text = f"{name}:{SLOW[name]}" if name in SLOW else name
    program, _, asked = parsed("data_parallel", "--steps=20")
    seconds = []
    for words in ([], ["--straggler", text]):
        cluster = chosen(parser.parse_args(["--simulated=2", *words])).cluster
        seconds.append(cluster.run(program.function, *asked.args, **asked.kwargs).seconds)
    assert seconds[1] > seconds[0]
