"""Users' cells that are trained by hand without a fault, and that a trainer may fail to save or to resume."""

# ruff: noqa: ARG002  # the methods of a cell have given arguments

import math
from typing import NamedTuple

import torch
from torch import nn

from seqtrain.cells import Cell


class Memory(NamedTuple):
    hidden: torch.Tensor


class Plain(Cell):
    def __init__(self, input_size, hidden_size, width=math.inf, **options):
        super().__init__(input_size, hidden_size)
        self.w = nn.Parameter(torch.randn(hidden_size, input_size) * 0.3)
        self.u = nn.Parameter(torch.randn(hidden_size, hidden_size) * 0.3)
        self.make(hidden_size)

    def make(self, hidden_size):
        pass

    def recurrent(self, hidden):
        return hidden @ self.u.T

    def project(self, x):
        return x @ self.w.T

    def step(self, x_gates, state):
        return Memory(torch.tanh(x_gates + self.recurrent(state.hidden)))

    def initial_state(self, batch_size):
        return Memory(self.w.new_zeros(batch_size, self.hidden_size))


class Inner(Plain):
    def recurrent(self, hidden):
        return self.inner(hidden)


# --- these are trained, saved, resumed and evaluated ----------------------------------------------------------------


class Transposed(Plain):
    def make(self, hidden_size):
        self.u = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden_size, hidden_size)).t())


class Slices(Plain):
    def make(self, hidden_size):
        both = torch.randn(hidden_size, 2 * hidden_size) * 0.3
        self.u, self.v = (self.weight(part) for part in both.chunk(2, 1))

    def weight(self, part):
        return nn.Parameter(part)

    def recurrent(self, hidden):
        return hidden @ self.u.T + torch.relu(hidden @ self.v.T)


class Copies(Slices):
    def weight(self, part):
        return nn.Parameter(part.contiguous())


class Shared(Plain):
    def make(self, hidden_size):
        self.v = self.u

    def recurrent(self, hidden):
        return hidden @ self.u.T @ self.v


class OddBuffers(Plain):
    def make(self, hidden_size):
        self.register_buffer("transposed", torch.rand(hidden_size, hidden_size).t())
        self.register_buffer("expanded", torch.ones(1).expand(hidden_size))
        self.register_buffer("number", torch.tensor(1.5))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("nothing", None)
        for kind in (torch.bool, torch.int8, torch.uint16, torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16):
            self.register_buffer(f"of_{kind}".replace(".", "_"), torch.ones(2).to(kind))

    def recurrent(self, hidden):
        return hidden @ (self.u * self.transposed).T * self.expanded


class OddWeights(Plain):
    def make(self, hidden_size):
        self.u.requires_grad_(False)
        self.exact = nn.Parameter(torch.ones(hidden_size, dtype=torch.float64))
        self.rough = nn.Parameter(torch.ones(hidden_size, dtype=torch.bfloat16))
        self.rotation = nn.Parameter(torch.ones(hidden_size, dtype=torch.complex64))
        self.number = nn.Parameter(torch.tensor(0.5))
        self.empty = nn.Parameter(torch.empty(0, 3))
        self.places = nn.Parameter(torch.arange(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))

    def recurrent(self, hidden):
        turned = (self.rotation * hidden).real
        return (turned.double() * self.exact).float() * self.rough.float() * self.number + hidden @ self.u.T


class OldWeightNorm(Inner):
    def make(self, hidden_size):
        self.inner = nn.utils.weight_norm(nn.Linear(hidden_size, hidden_size))


class NewWeightNorm(Inner):
    def make(self, hidden_size):
        self.inner = nn.utils.parametrizations.weight_norm(nn.Linear(hidden_size, hidden_size))


class BatchNorm(Inner):
    def make(self, hidden_size):
        self.inner = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.BatchNorm1d(hidden_size))


class RunningMean(Plain):
    persistent = True

    def make(self, hidden_size):
        self.register_buffer("mean", torch.zeros(hidden_size), persistent=self.persistent)

    def recurrent(self, hidden):
        self.mean = 0.9 * self.mean + 0.1 * hidden.detach().mean(0)
        return (hidden - self.mean) @ self.u.T


class ExtraState(Plain):
    calls = 0

    def recurrent(self, hidden):
        self.calls += self.training
        return hidden @ self.u.T / (1 + self.calls)

    def get_extra_state(self):
        return torch.tensor(self.calls)

    def set_extra_state(self, state):
        self.calls = int(state)


class TransposedState(Plain):
    def step(self, x_gates, state):
        return Memory(super().step(x_gates, state).hidden.t().contiguous().t())


class Even(Plain):
    def make(self, hidden_size):
        if hidden_size % 2:
            raise ValueError("hidden_size must be even")


class Square(Plain):
    def make(self, hidden_size):
        if self.input_size != hidden_size:
            raise ValueError("input_size must be hidden_size")


class FixedBatch(Plain):
    def project(self, x):
        if x.shape[1] != 4:
            raise ValueError("not 4 sequences")
        return super().project(x)


# --- these are refused, or a remark says what does not hold ---------------------------------------------------------


class UnsavedMean(RunningMean):
    persistent = False


class Tied(Plain):
    def make(self, hidden_size):
        self.v = nn.Parameter(self.u.data.t())


class Expanded(Plain):
    def make(self, hidden_size):
        self.bias = nn.Parameter(torch.zeros(1).expand(hidden_size))


class SparseWeight(Plain):
    def make(self, hidden_size):
        self.u = nn.Parameter(torch.eye(hidden_size).to_sparse())


class SparseBuffer(Plain):
    def make(self, hidden_size):
        self.register_buffer("mask", torch.eye(hidden_size).to_sparse_csr())


class SparseGradient(Plain):
    def make(self, hidden_size):
        self.table = nn.Embedding(3, hidden_size, sparse=True)

    def recurrent(self, hidden):
        return hidden + self.table(torch.tensor(1))


class DoubleComplex(Plain):
    def make(self, hidden_size):
        self.register_buffer("roots", torch.ones(2, dtype=torch.complex128))


class Lazy(Inner):
    def make(self, hidden_size):
        self.inner = nn.LazyLinear(hidden_size)


class WithoutNumbers(Plain):
    def make(self, hidden_size):
        self.register_buffer("mean", torch.zeros(3, device="meta"))


class LateBuffer(Plain):
    def recurrent(self, hidden):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", torch.zeros(1))
        return hidden @ self.u.T


class LaterBuffer(Plain):
    steps = 0

    def recurrent(self, hidden):
        self.steps += self.training
        if self.steps > 20 and not hasattr(self, "mean"):
            self.register_buffer("mean", torch.zeros(1))
        return hidden @ self.u.T


class ExtraDict(Plain):
    def get_extra_state(self):
        return {"calls": 1}

    def set_extra_state(self, state):
        pass


class ForgetfulState(ExtraState):
    def set_extra_state(self, state):
        self.calls = 0


class DoubleOutput(Plain):
    def make(self, hidden_size):
        self.double()

    def project(self, x):
        return x.double() @ self.w.T


class OtherStart(Plain):
    def recurrent(self, hidden):
        return hidden.float() @ self.u.T

    def initial_state(self, batch_size):
        return Memory(torch.zeros(batch_size, self.hidden_size, dtype=torch.float16))


class Ragged(Plain):
    def step(self, x_gates, state):
        return Memory(None)
