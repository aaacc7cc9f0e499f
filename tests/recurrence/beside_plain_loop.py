"""A fast path beside the plain loop: outputs, last state and all gradients."""

import copy

import torch

from seqtrain.recurrence import unroll_reference


def with_random_weights(cell):
    """Nothing hides behind a zero then."""
    for parameter in cell.parameters():
        parameter.data.normal_(std=0.6)
    return cell


def random_state(cell, batch):
    return cell.state_type(*(torch.randn(batch, cell.hidden_size) for _ in cell.state_type._fields))


def results(run, cell, x, state=None, **options):
    """Outputs, last state and all gradients of a random weighting of them, by name."""
    cell = copy.deepcopy(cell)
    x = x.detach().clone().requires_grad_()
    start = None if state is None else type(state)(*(part.detach().clone().requires_grad_() for part in state))
    outputs, last = run(cell, x, start, **options)
    found = {"outputs": outputs, **{f"last {name}": part for name, part in last._asdict().items()}}
    random = torch.Generator().manual_seed(1)
    sum((part * torch.randn(part.shape, generator=random).to(part.dtype)).sum() for part in found.values()).backward()
    gradients = {"x": x, **dict(cell.named_parameters()), **({} if start is None else start._asdict())}
    return {**found, **{f"d {name}": tensor.grad for name, tensor in gradients.items()}}


def assert_same(run, cell, *inputs, rtol=1e-10, atol=1e-10, **options):
    found, wanted = (results(one, cell, *inputs, **options) for one in (run, unroll_reference))
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(
            found[name], wanted[name], rtol=rtol, atol=atol, msg=lambda text, n=name: f"{n}: {text}"
        )
