"""ddml-kit run, from the words to the exit status, the table and the file."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ddml_kit.cluster import Run, Simulated
from ddml_kit.cluster.distributed.world import NAMES
from ddml_kit.command.main import main
from ddml_kit.command.options import sentence
from ddml_kit.command.report import account, model, table
from ddml_kit.command.rooms import programs
from ddml_kit.command.tasks import tasks
from ddml_kit.problems import Quadratic

ROOT = Path(__file__).parent.parent.parent
QUICK = ("--problem", "quadratic:6,40", "--steps", "20")


@pytest.fixture
def ddml(capsys, monkeypatch):
    """Runs a command line; its exit status, what it printed, and what it complained of."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def command(*words: str) -> tuple[int, str, str]:
        try:
            status = main(list(map(str, words)))
        except SystemExit as exit:
            status = exit.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def rows(out: str) -> dict[str, str]:
    """A table by the names of its rows."""
    return dict(line.split("  ", 1) for line in out.splitlines() if line)


def test_a_run_is_told_and_written(ddml, tmp_path) -> None:
    path = tmp_path / "run.npz"
    status, out, err = ddml("run", "data_parallel", *QUICK, "--simulated", 8, "--out", path)
    assert (status, err) == (0, "")
    told = {name: text.strip() for name, text in rows(out).items()}
    run = Run.load(path)
    assert told == {
        "program": "data_parallel on quadratic:dim=6,samples=40,condition=10,noise=1,seed=0",
        "cluster": "simulated, 8 ranks, seed 0",
        "time": f"{run.seconds:.4g} s, virtual",
        "loss above the least": told["loss above the least"],
        "steps": "20",
        "messages": "0, and 20 collectives on each rank",
        "sent": "13.4 kB",
        "saved as": str(path),
    }
    assert (run.size, run.badge, len(run.snapshots)) == (8, "simulated", 8 * 21)
    assert run.bytes == 20 * 2 * 7 * 6 * 8
    assert not list(tmp_path.glob("*.part"))


def test_the_file_knows_what_it_was(ddml, tmp_path) -> None:
    path = tmp_path / "run.npz"
    ddml(
        *("run", "parameter-server", "--problem", "quadratic:6,40", "--clocks=5", "--seed=3"),
        *("--simulated", 4, "--waiting", "ssp:2", "--late", "1:0.5", "--out", path),
        *("--network", "latency=0.001", "--straggler", "exponential", "--straggler", "pareto:2"),
        *("--crash", "2:50", "--on-failure", "continue"),
    )
    run = Run.load(path)
    assert run.seed == 3
    about = dict(run.about)
    assert about.pop("settings") == {
        "optimiser": "sgd",
        "lr": 0.1,
        "clocks": 5,
        "batch_size": 16,
        "waiting": "ssp:staleness=2,by_round=no",
        "servers": 1,
        "fetch": 1,
        "sparse": False,
        "prefetch": False,
        "damping": "undamped",
        "late": {"1": 0.5},
        "patience": None,
    }
    assert about == {
        "kit": "0.1.0",
        "program": "parameter_server",
        "problem": "quadratic:dim=6,samples=40,condition=10,noise=1,seed=0",
        "given": {"clocks": "5", "waiting": "ssp:2", "late": "1:0.5"},
        "cluster": {
            "where": "simulated",
            "size": 4,
            "seed": 3,
            "network": "latency=0.001",
            "slowdowns": ["exponential", "pareto:2"],
            "crashes": "2:50",
            "on_failure": "continue",
        },
    }


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        (("--optimiser", "sgd:0.3"), 0.3),
        (("--optimiser", "momentum:lr=0.2,mu=0.5"), 0.2),
        (("--optimiser", "momentum:mu=0.5", "--lr", "0.05"), 0.05),
        (("--lr", "0.05"), 0.05),
        ((), 0.1),
    ],
)
def test_the_file_has_the_step_size_that_was_used(ddml, tmp_path, words, rate) -> None:
    path = tmp_path / "run.npz"
    assert ddml("run", "data_parallel", *QUICK, "--simulated", 2, *words, "--out", path)[0] == 0
    assert Run.load(path).about["settings"]["lr"] == rate


@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_run_has_begun_is_told_by_the_status(
    ddml, monkeypatch, number, wanted
) -> None:
    monkeypatch.setattr(Simulated, "start", lambda *args, **kwargs: signal.raise_signal(number))
    assert ddml("run", "data_parallel", *QUICK, "--simulated", 2) == (wanted, "", "")


def test_a_simulated_run_is_the_same_file_each_time(ddml, tmp_path) -> None:
    files = []
    for name in "ab":
        words = ("--problem", "digits:hidden=4", "--steps=4", "--straggler", "exponential")
        path = tmp_path / name
        assert ddml("run", "data_parallel", *words, "--simulated", 64, "--out", path)[0] == 0
        files.append(path.read_bytes())
    assert files[0] == files[1]
    ddml("run", "data_parallel", *words, "--simulated", 64, "--out", path, "--force", "--seed=1")
    assert path.read_bytes() != files[0]


def test_the_same_command_on_other_clusters_gives_the_same_bits(ddml, tmp_path) -> None:
    models = []
    for where in ("--simulated", "--processes", "--torchrun"):
        path = tmp_path / where
        words = ("--problem", "digits:hidden=4", "--steps=5", "--optimiser=momentum", "--lr=0.1")
        status, out, _ = ddml("run", "data_parallel", *words, where, 3, "--out", path)
        assert status == 0
        models.append(model(Run.load(path)))
        assert "accuracy" in rows(out)
    np.testing.assert_array_equal(models[0], models[1])
    np.testing.assert_array_equal(models[0], models[2])


def test_options_reach_the_cluster(ddml, tmp_path) -> None:
    seconds = []
    for more in ([], ["--network=latency=1"], ["--straggler=constant:1:500"]):
        path = tmp_path / "run.npz"
        ddml("run", "data_parallel", *QUICK, "--simulated=2", "--force", "--out", path, *more)
        seconds.append(Run.load(path).seconds)
    assert seconds[1] > 20
    assert seconds[2] > 2 * seconds[0]
    status, out, _ = ddml("run", "data_parallel", *QUICK, "--processes=2", "--paced")
    assert status == 0
    assert "processes, 2 ranks" in out
    assert "s, paced" in out


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "ddml-kit: which command? there are run, list"),
        ("grade", "ddml-kit: there is no command 'grade'; there are run, list"),
        ("run", "ddml-kit run: which program? there are averaged, "),
        ("run data", "ddml-kit run: there is no program 'data'; there are"),
        ("run hogwilt", "there is no program 'hogwilt'; did you mean hogwild? there are"),
        ("run hogwild", "where? give --simulated N, --processes N, --torchrun N, or start it with"),
        ("run hogwild --simulated 0", "Simulated needs 1 or more ranks, got 0"),
        ("run hogwild --simulated two", "--simulated: must be a whole number, got 'two'"),
        ("run hogwild --simulated 2 --processes 2", "not allowed with argument --simulated"),
        ("run hogwild --processes 2 --network latency=1", "--network is not for processes"),
        ("run hogwild --simulated 2 --paced", "--paced is not for simulated"),
        ("run hogwild --simulated 2 --network delay=1", "network has no setting 'delay'; it is"),
        ("run hogwild --simulated 2 --network latency=-1", "latency must be 0 or more seconds"),
        ("run hogwild --simulated 2 --straggler slow", "there is no straggler 'slow'; there are"),
        ("run hogwild --simulated 2 --straggler pareto:1", "Pareto needs shape > 1"),
        ("run hogwild --simulated 2 --crash 1", "--crash must be numbers by rank such as"),
        ("run hogwild --simulated 2 --crash 2:1", "crashes names rank 2, but ranks go from 0 to 1"),
        ("run hogwild --simulated 2 --seed -1", "seed must be a whole number >= 0, got -1"),
        ("run hogwild --simulated 2 --on-failure x", "must be one of stop, continue, got 'x'"),
        ("run hogwild --simulated 2 --problem digit", "did you mean digits? there are digits,"),
        ("run hogwild --simulated 2 --problem idx:no,no", "no: No such file or directory"),
        ("run hogwild --simulated 2 --problem quadratic:10000000", "nable to allocate"),
        ("run hogwild --simulated 2 --step 3", "unrecognized arguments: --step 3"),
        ("run hogwild --simulated 2 --steps 1.5", "--steps: must be a whole number, got '1.5'"),
        ("run hogwild --simulated 2 --lr 0", "lr must be more than 0, got 0"),
        ("run hogwild --simulated 2000", "1438 samples can be shared by 1 to 1438 ranks, got 2000"),
        ("run hogwild --simulated 2 --problem library_words", "hogwild learns a Problem, got a"),
        ("run hogwild_compiled --simulated 2", "learns a Logistic, got a TorchModule"),
        ("run data_parallel --simulated 2 --batch-size 0", "batch_size must be 1 or more, got 0"),
        ("run data_parallel --simulated 2 --optimiser adam", "adam needs a step size of its own:"),
        ("run data_parallel --simulated 2 --optimiser sgd --lr 0", "lr must be more than 0, got 0"),
        (
            "run data_parallel --simulated 2 --optimiser sgd:0.3 --lr 0.1",
            "sgd:0.3 has a step size, so that there is no place for --lr, got 0.1",
        ),
        ("run data_parallel --simulated 2 --reducer rings", "did you mean ring? there are mean,"),
        ("run data_parallel --simulated 2 --reducer hierarchical:3", "got 3"),
        (
            "run data_parallel --simulated 2 --reducer top_k:0",
            "k as a count is at least 1, got k=0",
        ),
        ("run data_parallel --simulated 2 --reducer power_sgd:0", "rank must be 1 or more, got 0"),
        ("run data_parallel --simulated 2 --reducer qsgd", "qsgd needs levels: qsgd:levels,"),
        ("run parameter_server --simulated 1", "there must be a worker beside the servers, got 1"),
        ("run parameter_server --simulated 3 --waiting ssp", "ssp needs staleness: ssp:staleness"),
        ("run parameter_server --simulated 3 --waiting ssp:-1", "SSP needs staleness >= 0, got -1"),
        ("run data_parallel --simulated 2 --out .", "--out needs a file in a folder that can"),
        ("run data_parallel --simulated 2 --out no/x", "--out needs a file in a folder that can"),
    ],
)
def test_bad_input_gets_one_sentence(ddml, words: str, sentence: str) -> None:
    status, out, err = ddml(*words.split())
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.startswith("ddml-kit")
    assert err.count("\n") == 1


def test_workers_too_refuse_settings_before_anything_has_happened(ddml) -> None:
    status, out, err = ddml("run", "data_parallel", "--processes", 2, "--batch-size", 0)
    assert (status, out) == (2, "")
    assert err == "ddml-kit run data_parallel: batch_size must be 1 or more, got 0\n"


def test_a_file_is_not_written_over_unasked(ddml, tmp_path) -> None:
    path = tmp_path / "run.npz"
    path.write_text("mine")
    words = ("run", "data_parallel", *QUICK, "--simulated", 2, "--out", path)
    status, _, err = ddml(*words)
    assert status == 2
    assert f"{path} is there already: give --force to write over it" in err
    assert path.read_text() == "mine"
    assert ddml(*words, "--force")[0] == 0
    assert Run.load(path).size == 2


# ------------------------------------------------------------------------------- failures


def test_a_failed_rank_gets_its_sentence_and_the_run_so_far_is_written(ddml, tmp_path) -> None:
    path = tmp_path / "run.npz"
    words = ("run", "data_parallel", *QUICK, "--simulated", 2, "--out", path)
    status, out, err = ddml(*words, "--crash", "1:0.0005")
    assert status == 1
    assert err == (
        "ddml-kit run data_parallel: rank 1 failed at 0.0005 s: "
        "crashed, as crashes={1: 0.0005} asked\n"
    )
    run = Run.load(path)
    step = max(snapshot.step for snapshot in run.snapshots)
    assert 0 < step < 20
    assert rows(out)["steps"].strip() == f"at least {step} of 20"
    assert list(run.failures) == [1]
    assert "loss above the least" in out
    assert "rank 1" not in out  # it has been said


def test_a_model_that_is_not_finite_ends_the_run(ddml) -> None:
    status, _, err = ddml("run", "data_parallel", "--simulated", 2, "--lr", 1e9)
    assert status == 1
    assert "FloatingPointError: the gradient must be finite, got" in err


def test_an_error_after_the_first_step_is_no_refusal(ddml, monkeypatch) -> None:
    gradients = iter(range(4))

    def gradient(problem, w, batch):
        if next(gradients) == 3:
            raise ValueError("odd data in the fourth step")
        return np.zeros(problem.dim)

    monkeypatch.setattr(Quadratic, "_gradient", gradient)
    status, out, err = ddml("run", "hogwild", *QUICK, "--simulated", 1)  # sends no messages
    assert status == 1
    assert "rank 0 failed at" in err
    assert rows(out)["steps"].strip() == "at least 2 of 20"


def test_a_rank_that_may_fail_is_told_in_the_table(ddml) -> None:
    words = ("--problem", "quadratic:6,40", "--simulated", 4, "--crash", "1:0.001")
    more = ("--on-failure", "continue", "--patience", 1, "--waiting", "asp")
    status, out, err = ddml("run", "parameter_server", *words, *more)
    assert (status, err) == (0, "")
    assert rows(out)["rank 1"].strip().startswith("failed at 0.001 s: crashed, as")


def test_what_cannot_be_written_is_said_after_the_run(ddml, tmp_path, monkeypatch) -> None:
    def full(run, path) -> None:
        Path(path).write_text("half a ru")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "save", full)
    path = tmp_path / "run.npz"
    path.write_text("mine")
    words = ("run", "data_parallel", *QUICK, "--simulated", 2, "--force", "--out", path)
    status, out, err = ddml(*words)
    assert status == 1
    assert err.endswith(": No space left on device\n")
    assert rows(out)["steps"].strip() == "20"
    assert "saved as" not in out
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    assert path.read_text() == "mine"


def test_an_error_of_the_system_is_a_sentence() -> None:
    assert sentence(FileNotFoundError(2, "No such file", "x")) == "x: No such file"
    assert sentence(OSError(28, "Full")) == "Full"
    assert sentence(OSError("odd")) == "odd"
    assert sentence(ValueError("three")) == "three"


# ---------------------------------------------------------------------------- under torchrun


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_the_processes_that_torchrun_starts_the_first_speaks(ddml, monkeypatch, rank) -> None:
    for name, value in zip(NAMES, (rank, "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    status, out, err = ddml("run", "data_parallel", "--simulated", 2)
    assert (status, out) == (2, "")
    said = "--simulated is for one process, but torchrun has started 2"
    assert (said in err) if rank == "0" else (err == "")


# One command for all of them; rank 1 fails a while before rank 0 has told of it.
@pytest.mark.parametrize("more", [[], ["--crash=1:0.001"]], ids=["", "crash"])
def test_torchrun_runs_the_same_command(ddml, tmp_path, more) -> None:
    path, same = tmp_path / "run.npz", tmp_path / "same.npz"
    words = ["run", "data_parallel", *QUICK, "--reducer=ring", "--seed=2"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("--standalone", "-m", "ddml_kit", *words, "--out", str(path), *more),
        ],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == (1 if more else 0), done.stderr
    run = Run.load(path)
    assert (run.size, run.badge, run.seed) == (2, "measured", 2)
    assert run.about["cluster"] == {"where": "torchrun", "size": 2, "seed": 2} | (
        {"crashes": "1:0.001"} if more else {}
    )
    told = rows(done.stdout)
    assert told["saved as"].strip() == str(path)  # once, by rank 0
    if more:
        said = [line for line in done.stderr.splitlines() if line.startswith("ddml-kit")]
        assert len(said) == 1
        assert "rank 1 failed at" in said[0]
        return
    assert ddml(*words, "--simulated=2", "--out", same)[0] == 0
    np.testing.assert_array_equal(model(run), model(Run.load(same)))
    assert run.bytes == Run.load(same).bytes


# ----------------------------------------------------------------------------- as a command


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in NAMES}


def test_python_m_ddml_kit_is_the_same(tmp_path) -> None:
    path = tmp_path / "run.npz"
    words = ["run", "data_parallel", *QUICK, "--processes", "2", "--out", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "ddml_kit", *words],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout)["cluster"].strip() == "processes, 2 ranks, seed 0"
    assert Run.load(path).size == 2


def test_the_console_script_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    assert project["scripts"] == {"ddml-kit": "ddml_kit.command.main:main"}


# A shell would make the terminal that of the command, whose Ctrl-C then reaches it.
WITH_TERMINAL = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("ddml_kit", run_name="__main__")
"""


def test_ctrl_c_on_a_terminal_writes_what_there_is(tmp_path) -> None:
    path = tmp_path / "run.npz"
    words = ["run", "data_parallel", "--processes", "2", "--steps", "10000000", "--out", str(path)]
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", WITH_TERMINAL, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    while piece := read(ours):
        if b"step" in said + piece and b"step" not in said:
            os.write(ours, b"\x03")
        said += piece
    os.close(ours)
    assert child.wait() == 130, said
    assert b"\r\x1b[Kstep 0 of 10,000,000, " in said
    assert b"ended      stopped" in said
    run = Run.load(path)
    assert run.stopped
    assert run.about["program"] == "data_parallel"


def read(end: int) -> bytes:
    try:
        return os.read(end, 4096)
    except OSError:  # the other end is closed
        return b""


# ------------------------------------------------------------------------------------ words


@pytest.mark.parametrize("words", ["--help", "run --help", "run hogwild --help", "list --help"])
def test_help_is_printed(ddml, words: str) -> None:
    status, out, err = ddml(*words.split())
    assert (status, err) == (0, "")
    assert out.startswith("usage: ddml-kit")


def test_help_says_what_settings_mean_and_are(ddml) -> None:
    _, out, _ = ddml("run", "parameter_server", "--help")
    text = " ".join(out.split())
    assert "A parameter server: the model lies on servers" in text
    assert "--fetch N batches a clock (1)" in text
    assert "ssp:staleness,by_round=no" in text
    assert "--sparse, --no-sparse pull only the coordinates that the batches have (no)" in text


def test_the_list_has_every_name(ddml) -> None:
    status, out, _ = ddml("list")
    assert status == 0
    for name in (*programs(), *tasks(), "momentum:mu=0.9", "ring", "exponential:ranks=none"):
        assert f"  {name}" in out


def test_a_table_has_two_columns() -> None:
    assert table({"a": "1", "longer": "2"}) == "a       1\nlonger  2"


def test_a_run_that_says_nothing_of_itself_is_told_as_far_as_it_goes() -> None:
    run = Simulated(2).run(lambda comm: comm.send(np.ones(2), 1 - comm.rank))
    assert account(run, {"loss": float}) == {
        "cluster": "simulated, 2 ranks, seed 0",
        "time": "0 s, virtual",
        "messages": "2",
        "sent": "32 B",
    }
