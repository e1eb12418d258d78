"""Any torch module as a flat vector."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from ddml_kit.problems import Data, Logistic, TorchModule, digits, sparse_logistic
from ddml_kit.problems.torch_module import as_tensor


def images(n: int = 12) -> Data:
    rng = np.random.default_rng(0)
    return Data(rng.random((n, 1, 6, 6), np.float32), np.arange(n) % 3, "random images")


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


class Tied(nn.Module):
    """One matrix, used twice, and a parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor([2.0]))
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("shift", torch.ones(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.second(torch.tanh(self.first(x))) + self.shift


@pytest.mark.parametrize("make", [convolution, Tied])
def test_the_gradient_is_that_of_a_backward_pass(make) -> None:
    module = make()
    if make is Tied:
        rng = np.random.default_rng(0)
        data = Data(rng.random((8, 5), np.float32), np.arange(8) % 5, "random")
    else:
        data = images()
    problem = TorchModule(module, cross_entropy, data)
    w = problem.initial(4)
    batch = next(problem.batches(np.random.default_rng(0), 5, 1))
    live = problem.module(w)
    np.testing.assert_array_equal(nn.utils.parameters_to_vector(live.parameters()).detach(), w)
    cross_entropy(live(torch.tensor(batch.x)), torch.tensor(batch.y)).backward()
    there = [
        (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in live.parameters()
    ]
    here = problem.gradient(w, batch)
    assert (here.dtype, here.shape) == (np.float32, (problem.dim,))
    np.testing.assert_allclose(here, torch.cat(there), atol=1e-6)


def test_a_linear_layer_is_logistic_regression() -> None:
    data = digits()
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)).double()
    torchs = TorchModule(module, cross_entropy, data)
    ours = Logistic(data.x, data.y, dtype=np.float64)
    assert torchs.shapes == ((10, 64),)
    w = torchs.initial(1)
    ours_w = np.ascontiguousarray(w.reshape(10, 64).T).reshape(-1)
    assert torchs.loss(w) == pytest.approx(ours.loss(ours_w))
    assert torchs.accuracy(w) == ours.accuracy(ours_w)
    theirs = torchs.gradient(w, next(torchs.batches(None, 50, 1))).reshape(10, 64).T.reshape(-1)
    mine = ours.gradient(ours_w, next(ours.batches(None, 50, 1)))
    np.testing.assert_allclose(theirs, mine, atol=1e-12)
    assert torchs.seconds(next(torchs.batches(None, 7, 1))) == pytest.approx(7 * 3 * 2 * 640 / 1e9)


def test_the_start_follows_its_seed_and_leaves_torchs_own_alone() -> None:
    problem = TorchModule(convolution(), cross_entropy, images())
    before = torch.get_rng_state()
    first, again, other = problem.initial(1), problem.initial(1), problem.initial(2)
    torch.testing.assert_close(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    torch.manual_seed(5)
    assert not np.array_equal(first, problem.initial(7))


def test_a_parameter_of_no_layer_starts_as_it_was() -> None:
    module = Tied()
    data = Data(np.ones((2, 5), np.float32), np.array([0, 1]), "")
    problem = TorchModule(module, cross_entropy, data)
    assert problem.shapes[:2] == ((1,), (2,))
    with torch.no_grad():
        module.scale.fill_(9)  # the problem has a copy
    np.testing.assert_array_equal(problem.initial(3)[:3], [2, 1, 1])


def test_the_module_given_is_not_touched() -> None:
    module = convolution()
    before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
    problem = TorchModule(module, cross_entropy, images())
    problem.gradient(problem.initial(3), next(problem.batches(None, 4, 1)))
    assert torch.equal(nn.utils.parameters_to_vector(module.parameters()), before)
    assert all(p.grad is None for p in module.parameters())


def test_gradients_do_not_depend_on_who_switched_them_off() -> None:
    problem = TorchModule(convolution(), cross_entropy, images())
    w, batch = problem.initial(0), next(problem.batches(None, 4, 1))
    usual = problem.gradient(w, batch)
    with torch.no_grad():
        np.testing.assert_array_equal(problem.gradient(w, batch), usual)
        assert not torch.is_grad_enabled()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_whatever_torch_is_set_to(two_threads: None) -> None:
    seen = []

    class Watch(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x)

    problem = TorchModule(
        Watch(5, 2), cross_entropy, Data(np.ones((3, 5), np.float32), np.zeros(3, int), "")
    )
    del seen[:]
    w = problem.initial(0)
    problem.gradient(w, next(problem.batches(None, 2, 1)))
    problem.loss(w)
    problem.accuracy(w)
    assert seen == [1, 1, 1]
    assert torch.get_num_threads() == 2


def test_losses_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = TorchModule(convolution(), cross_entropy, images())
    w = problem.initial(0)
    loss, accuracy = problem.loss(w), problem.accuracy(w)
    monkeypatch.setattr("ddml_kit.problems.torch_module.CHUNK", 5)
    assert problem.loss(w) == pytest.approx(loss)
    assert problem.accuracy(w) == accuracy


def test_numbers_and_yes_or_no() -> None:
    x = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    numbers = TorchModule(nn.Linear(1, 1), mse_loss, Data(x, x.astype(np.float64), "numbers"))
    w = np.array([1, 0], np.float32)
    assert numbers.loss(w) == 0
    assert np.isnan(numbers.accuracy(w))

    def yes(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return binary_cross_entropy_with_logits(outputs[:, 0], y.float())

    sign = TorchModule(nn.Linear(1, 1), yes, Data(x, (x[:, 0] > 0).astype(int), "signs"))
    assert sign.accuracy(w) == 1
    assert sign.accuracy(-w) == pytest.approx(1 / 9)


def test_what_it_refuses() -> None:
    data = images()
    with pytest.raises(
        ValueError, match=r"a pass changes 1.running_mean.*track_running_stats=False"
    ):
        TorchModule(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), cross_entropy, data
        )
    with pytest.raises(ValueError, match=r"draws random numbers \(dropout\?\)"):
        TorchModule(
            nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(36, 3)), cross_entropy, data
        )
    with pytest.raises(ValueError, match=r"one number, the mean, got \(2,\)"):
        TorchModule(convolution(), nn.CrossEntropyLoss(reduction="none"), data)
    with pytest.raises(ValueError, match="one type, float32 or float64, got none"):
        TorchModule(nn.Flatten(), cross_entropy, data)
    with pytest.raises(ValueError, match=r"got torch\.float32, torch\.float64"):
        TorchModule(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double()), cross_entropy, data)
    with pytest.raises(ValueError, match="dense inputs, got Rows"):
        TorchModule(nn.Linear(9, 2), cross_entropy, sparse_logistic(4, 9, 2, seed=0))


def test_what_it_allows() -> None:
    for module in (
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()
        ),
        nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(36, 3)).eval(),
    ):
        problem = TorchModule(module, cross_entropy, images())
        assert np.isfinite(problem.loss(problem.initial()))


def test_a_tensor_shares_memory_where_it_may_be_written() -> None:
    array = np.zeros(3, np.float32)
    as_tensor(array)[0] = 1
    assert array[0] == 1
    array.setflags(write=False)
    as_tensor(array)[0] = 2
    assert array[0] == 1


def test_torch_is_imported_when_it_is_needed() -> None:
    program = (
        "import sys, ddml_kit.problems as p; p.digits(); assert 'torch' not in sys.modules; "
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(ImportError, match="Nothing"):
        from ddml_kit.problems import Nothing  # noqa: F401
