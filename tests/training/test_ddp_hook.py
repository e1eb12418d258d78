"""Reducers as DDP's communication hooks, in two processes on gloo that this test starts."""

# Annotations are no text here: DDP reads a hook's.

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ddml_kit.cluster import Simulated
from ddml_kit.cluster.endpoint import generator
from ddml_kit.compression import Sign, TopK
from ddml_kit.compression.atomo import ATOMO
from ddml_kit.problems import Data, TorchModule, digits
from ddml_kit.training.compressed import compressed, shared_entries
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.ddp_hook import Collectives, Reducers, ddp_hook
from ddml_kit.training.low_rank import power_sgd
from ddml_kit.training.optimisers import from_torch
from ddml_kit.training.reducers import mean

ROOT = Path(__file__).parents[2]
RANKS, STEPS, BATCH, LR = 2, 12, 16, 0.2
MAKERS = {
    "mean": lambda shapes: mean,
    "sign": lambda shapes: compressed(Sign()),
    "top_k": lambda shapes: compressed(TopK(0.1)),
    "atomo": lambda shapes: compressed(ATOMO(shapes, 2.0)),
    "shared": lambda shapes: shared_entries(0.3),
    "power_sgd": lambda shapes: power_sgd(shapes, rank=2),
}
NUMBER = "gradients must be finite, got 1 of 1135 values of rank 1 that are NaN or infinite"
SENTENCES = {"power_sgd": NUMBER, "shared": NUMBER}
CODECS = "rank 1: a codec needs finite values, got 1 of 1135"


def problem():
    data = digits()
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 15), torch.nn.ReLU(), torch.nn.Linear(15, 10)
    )
    few = Data(data.x[:300], data.y[:300], "some digits")
    return TorchModule(module, torch.nn.functional.cross_entropy, few)


# ------------------------------------------------------------------------ in their processes


def trained(rank, name, several):
    """The model that DDP trains on this rank, and how many buckets it has; or all in one."""
    ours, seen = problem(), set()
    model = torch.nn.parallel.DistributedDataParallel(
        ours.module(ours.initial(seed=0)), bucket_cap_mb=5e-4 if several else 25
    )

    def hook(state: Reducers, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        seen.add(bucket.index())
        return ddp_hook(state, bucket)

    model.register_comm_hook(Reducers(MAKERS[name]), hook)
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)
    for batch in ours.shard(rank, RANKS).batches(generator(0, rank, "batches"), BATCH, STEPS):
        optimiser.zero_grad()
        loss(model, batch).backward()
        optimiser.step()
    return torch.nn.utils.parameters_to_vector(model.parameters()).tolist(), len(seen)


def loss(model, batch):
    return torch.nn.functional.cross_entropy(
        model(torch.from_numpy(batch.x)), torch.from_numpy(batch.y)
    )


def refused(rank, name):
    """What the backward pass says when rank 1 has a NaN in its gradient."""
    ours = problem()
    module = ours.module(ours.initial(seed=0))
    last = list(module.parameters())[-1]
    model = torch.nn.parallel.DistributedDataParallel(module)
    if rank == 1:
        last.register_hook(lambda g: torch.where(torch.arange(len(g)) == 3, torch.nan, g))
    model.register_comm_hook(Reducers(MAKERS[name]), ddp_hook)
    [batch] = ours.batches(None, BATCH, 1)
    try:
        loss(model, batch).backward()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def collectives(rank):
    comm = Collectives(None, torch.device("cpu"), 3)
    x = np.array([rank, 1.0])
    out = np.empty(2)
    return [
        comm.all_reduce(x).tolist(),
        comm.all_reduce(x, "mean", out=out) is out and out.tolist(),
        x.tolist(),
        comm.all_reduce(np.array([[rank, 5]]), "max").tolist(),
        comm.all_reduce(rank),
        comm.all_reduce(rank, "mean"),
        comm.all_gather({"rank": rank}),
        comm.broadcast(rank + 7, root=1),
        comm.stream("a").random() == generator(3, rank, "a").random(),
        [comm.rank, comm.size, list(comm.members)],
    ]


def main(rank, store, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    said = {"collectives": collectives(rank)}
    for name in MAKERS:
        said[name] = [trained(rank, name, several) for several in (False, True)]
        if name != "mean":
            said[f"{name} refuses"] = refused(rank, name)
    Path(f"{out}/{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


# ---------------------------------------------------------------------------------- here


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each of two processes has said, by rank."""
    folder = tmp_path_factory.mktemp("ddp")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder / "store"), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(RANKS)
    ]
    try:
        ends = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * RANKS, "\n".join(ends)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize("name", MAKERS)
def test_ranks_have_the_same_model_and_it_has_learned(said, name):
    ours = problem()
    begin = ours.loss(ours.initial(seed=0))
    for several in (0, 1):
        (first, buckets), (second, _) = (of_rank[name][several] for of_rank in said)
        assert first == second
        assert (buckets > 1) == several
        assert ours.loss(np.array(first, np.float32)) < begin - 0.03


@pytest.mark.parametrize("name", ["mean", "sign", "top_k"])
def test_in_one_bucket_it_is_data_parallel(said, name):
    """With several buckets signs have several scales, and each bucket its own largest entries."""
    run = Simulated(RANKS).run(
        data_parallel,
        problem(),
        from_torch(torch.optim.SGD, lr=LR),
        steps=STEPS,
        batch_size=BATCH,
        reducer=MAKERS[name](()),
    )
    whole, buckets = (np.array(model) for model, _ in said[0][name])
    np.testing.assert_allclose(whole, run.results[0], atol=1e-6)
    assert (np.abs(buckets - whole).max() < 1e-6) == (name == "mean")


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "mean"])
def test_a_gradient_that_is_not_finite_is_an_error_on_both_ranks(said, name):
    for of_rank in said:
        sentence = of_rank[f"{name} refuses"]
        assert sentence.startswith("FloatingPointError: ")
        assert SENTENCES.get(name, CODECS) in sentence


def test_a_group_has_the_collectives_of_a_communicator(said):
    for rank, of_rank in enumerate(said):
        assert of_rank["collectives"] == [
            [1.0, 2.0],
            [0.5, 1.0],
            [float(rank), 1.0],
            [[1, 5]],
            1,
            0.5,
            [{"rank": 0}, {"rank": 1}],
            8,
            True,
            [rank, 2, [0, 1]],
        ]


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
