"""Gradients piece by piece: the bits of the whole, the last layer first, when asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ddml_kit.problems import Data, TorchModule, digits
from ddml_kit.problems.stages import shares, stages

MODULES = {
    "perceptron": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 10)
    ),
    "in place": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(inplace=True), nn.Linear(40, 10)
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 10),
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 16, bias=False)),
        nn.Sequential(nn.LayerNorm(16), nn.Sequential(nn.GELU(), nn.Linear(16, 10))),
        nn.Identity(),
    ),
    "no products": lambda: nn.Sequential(
        nn.Flatten(), nn.LayerNorm(64), nn.LayerNorm(64), nn.Linear(64, 10)
    ),
}
LENGTHS = {  # of the pieces, the last layer first
    "perceptron": [210, 820, 2600],
    "in place": [410, 2600],
    "convolutions": [330, 440, 12, 60],
    "nested": [170, 32, 1024],
    "no products": [650, 128, 128],
}


def problem_of(module):
    data = digits()
    return TorchModule(module, cross_entropy, Data(data.x.reshape(-1, 8, 8), data.y, "digits"))


def some(problem, seed=0, size=23):
    return problem.initial(seed), next(problem.batches(np.random.default_rng(seed), size, 1))


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_together_they_have_the_bits_of_the_gradient_and_the_cost_of_the_batch(kind, seed):
    problem = problem_of(MODULES[kind]())
    w, batch = some(problem, seed)
    pieces = list(problem.pieces(w, batch))
    assert [len(piece.gradient) for piece in pieces] == LENGTHS[kind]
    whole = np.full(problem.dim, np.nan, problem.dtype)
    stop = problem.dim
    for piece in pieces:
        assert piece.where.stop == stop
        stop = piece.where.start
        whole[piece.where] = piece.gradient
    assert stop == 0
    np.testing.assert_array_equal(whole, problem.gradient(w, batch), strict=True)
    assert sum(piece.seconds for piece in pieces) == pytest.approx(problem.seconds(batch))
    assert all(piece.seconds >= 0 for piece in pieces)


def test_the_first_piece_has_the_cost_of_the_forward_pass_too():
    problem = problem_of(MODULES["perceptron"]())
    w, batch = some(problem)
    forward = 2 * np.array([20 * 10, 40 * 20, 64 * 40]) * len(batch) / 1e9
    seconds = [piece.seconds for piece in problem.pieces(w, batch)]
    assert seconds == pytest.approx([forward.sum() + 2 * forward[0], *(2 * forward[1:])])


class Watched(nn.Linear):
    """Notes when its gradient is computed."""

    def __init__(self, name, log, *sizes):
        super().__init__(*sizes)
        self.name, self.log = name, log

    def __deepcopy__(self, memo):
        return Watched(self.name, self.log, self.in_features, self.out_features)

    def forward(self, x):
        class Note(torch.autograd.Function):
            @staticmethod
            def forward(_, y):
                return y.clone()

            @staticmethod
            def backward(_, gradient):
                self.log.append(self.name)
                return gradient

        return Note.apply(super().forward(x))


def test_each_is_computed_when_it_is_asked_for():
    log = []
    module = nn.Sequential(
        nn.Flatten(), Watched("first", log, 64, 8), nn.ReLU(), Watched("last", log, 8, 10)
    )
    problem = problem_of(module)
    del log[:]
    pieces = problem.pieces(*some(problem))
    assert log == []
    next(pieces)
    assert log == ["last"]
    next(pieces)
    assert log == ["last", "first"]


def test_between_two_pieces_torch_is_as_the_caller_has_it():
    problem = problem_of(MODULES["perceptron"]())
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with torch.no_grad():
            for piece in problem.pieces(*some(problem)):
                assert not torch.is_grad_enabled()
                assert torch.get_num_threads() == threads + 1
                assert np.any(piece.gradient)
    finally:
        torch.set_num_threads(threads)


def test_two_gradients_may_be_under_way_at_once():
    problem = problem_of(MODULES["convolutions"]())
    arguments = [some(problem, seed) for seed in (0, 1)]
    for pieces in zip(*(problem.pieces(*a) for a in arguments), strict=True):
        for piece, (w, batch) in zip(pieces, arguments, strict=True):
            expected = problem.gradient(w, batch)[piece.where]
            np.testing.assert_array_equal(piece.gradient, expected)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(10, 10)

    def forward(self, x):
        return x + self.inner(x)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(64, 4), nn.Linear(64, 4)

    def forward(self, x):
        return self.one(x), self.other(x)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.both = nn.Linear(8, 10)

    def forward(self, pair):
        return self.both(torch.cat(pair, dim=1))


def tied():
    layer = nn.Linear(10, 10)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), layer, nn.ReLU(), layer)


class Own(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        nn.Sequential(nn.Flatten(), Pair(), Joined()),
        tied(),
        Own(nn.Flatten(), nn.Linear(64, 10), nn.Linear(10, 10)),
    ],
    ids=["one layer", "a pair between layers", "a layer twice", "another forward"],
)
def test_what_cannot_be_cut_is_one_piece(module):
    problem = problem_of(module)
    w, batch = some(problem)
    [piece] = problem.pieces(w, batch)
    assert piece.where == slice(0, problem.dim)
    np.testing.assert_array_equal(piece.gradient, problem.gradient(w, batch), strict=True)
    assert piece.seconds == problem.seconds(batch)


def test_what_has_parameters_of_its_own_is_one_stage():
    module = nn.Sequential(nn.Linear(64, 10), Residual(), nn.ReLU())
    assert [len(stage) for stage in stages(module)] == [1, 2]
    assert shares(stages(module), torch.ones(2, 64)) == pytest.approx([640 / 740, 100 / 740])
    assert stages(nn.Flatten()) == []


def test_a_layer_without_parameters_may_occur_twice():
    relu = nn.ReLU()
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), relu, nn.Linear(9, 9), relu)
    problem = problem_of(nn.Sequential(*module, nn.Linear(9, 10)))
    w, batch = some(problem)
    pieces = list(problem.pieces(w, batch))
    assert [len(piece.gradient) for piece in pieces] == [100, 90, 585]
    whole = np.concatenate([piece.gradient for piece in reversed(pieces)])
    np.testing.assert_array_equal(whole, problem.gradient(w, batch))


def test_a_piece_that_is_not_finite_is_an_error():
    problem = problem_of(MODULES["perceptron"]())
    w, batch = some(problem)
    w[-1] = np.nan
    pieces = problem.pieces(w, batch)
    with pytest.raises(FloatingPointError, match="the gradient must be finite, got 2"):
        next(pieces)


def test_a_layer_whose_parameters_do_not_matter_has_a_gradient_of_zeros():
    class Ignored(nn.Linear):
        def forward(self, x):
            return x

    problem = problem_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Ignored(10, 10)))
    w, batch = some(problem)
    last, first = problem.pieces(w, batch)
    assert not last.gradient.any()
    np.testing.assert_array_equal(first.gradient, problem.gradient(w, batch)[:650])
