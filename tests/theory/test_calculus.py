"""Derivatives to third order against finite differences in float64, by autograd and by torch.func, for every law."""

import itertools

import pytest
import torch
from automata import NoAdjacentOnes

import twoclocks as tc

LAWS = {
    "parity": lambda: tc.rule("parity:1x4,G=2"),
    "counts": lambda: tc.rule("row-variable-k:2x2,K=0+1"),
    "permutation": lambda: tc.rule("permutation:1x3"),
    "automaton": lambda: NoAdjacentOnes((1, 3)),
    "latin": lambda: tc.rule("latin:2"),
    "empirical": lambda: tc.EmpiricalLaw(torch.tensor([[0, 1, 2], [2, 2, 0], [2, 2, 0], [1, 0, 1]]), 3),
    "empirical, binary": lambda: tc.EmpiricalLaw(torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 1]])),
    "product": lambda: tc.ProductLaw(torch.tensor([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]]), (1, 3)),
    "cube": lambda: tc.CubeLaw((1, 2), 3),
    "ngram": lambda: tc.NGramLaw(tc.rule("parity:1x4,G=4"), 1),
}


def images(law, n=1, seed=0):
    denoiser = tc.OptimalDenoiser(law)
    generator = torch.Generator().manual_seed(seed)
    shape = (n, denoiser.encoding.channels, *law.shape)
    return denoiser, torch.randn(shape, dtype=torch.float64, generator=generator)


def directional(f, x, direction, step=1e-3):
    """The derivative of f at x along a direction, by a five-point rule."""
    weights = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    return sum(w * f(x + k * step * direction) for k, w in weights.items()) / step


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("method", ["log_density", "score", "denoiser"])
def test_three_orders_of_autograd(name, method):
    law = LAWS[name]()
    denoiser, y = images(law)
    function = {"log_density": denoiser.log_density, "score": denoiser.score, "denoiser": denoiser}[method]
    weight = torch.randn(function(y, 0.8).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    directions = torch.randn(3, *y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def along(order):
        """The derivative of that order along the directions, by repeated backward passes."""

        def value(x):
            x = x.detach().requires_grad_()
            out = (function(x, 0.8) * weight).sum()
            for direction in directions[:order]:
                (slope,) = torch.autograd.grad(out, x, create_graph=True)
                out = (slope * direction).sum()
            return out.detach()

        return value

    for order in (1, 2, 3):
        expected = directional(along(order - 1), y, directions[order - 1])
        torch.testing.assert_close(along(order)(y), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LAWS)
def test_the_gradient_of_a_hyvarinen_objective(name):
    """|score|^2 / 2 + its divergence, whose gradient takes third derivatives of the log-density."""
    denoiser, y = images(LAWS[name](), seed=3)

    def objective(x):
        slope = denoiser.score(x, 0.7)
        units = torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape)
        divergence = sum((torch.autograd.grad(slope, x, u, create_graph=True)[0] * u).sum() for u in units)
        return slope.square().sum() / 2 + divergence

    x = y.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(x), x)
    for k, unit in enumerate(torch.eye(y.numel(), dtype=y.dtype).reshape(-1, *y.shape)):
        slope = directional(lambda z: objective(z.detach().requires_grad_()).detach(), y, unit)
        torch.testing.assert_close(gradient.flatten()[k], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", LAWS)
def test_fields_of_minus_infinity_have_no_slope(name):
    law = LAWS[name]()
    h = torch.randn(law.dim, law.alphabet, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    h[0, 1] = -torch.inf
    h.requires_grad_()
    (first,) = torch.autograd.grad(law.log_partition(h), h, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), h, create_graph=True)
    (third,) = torch.autograd.grad(second.square().sum(), h)
    for slope in (first, second, third):
        assert slope.isfinite().all()
        assert slope[0, 1] == 0


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, in forward mode
@pytest.mark.parametrize("name", LAWS)
def test_torch_func_agrees_with_autograd(name):
    law = LAWS[name]()
    denoiser, y = images(law, n=3, seed=5)
    h = torch.randn(3, law.dim, law.alphabet, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    close = torch.testing.assert_close
    close(torch.func.grad(lambda f: law.log_partition(f).sum())(h), law.marginals(h))
    close(torch.func.vmap(law.marginals)(h), law.marginals(h))
    close(torch.func.vmap(law.log_partition, in_dims=1)(h.movedim(0, 1)), law.log_partition(h))
    covariance = law.pair_marginals(h) - law.marginals(h)[..., None, None] * law.marginals(h)[:, None, None]
    close(torch.func.vmap(torch.func.jacrev(law.marginals))(h), covariance)
    close(torch.func.vmap(torch.func.hessian(law.log_partition))(h), covariance)  # forward over reverse

    def one(image, sigma):
        return denoiser(image[None], sigma)[0]

    sigma = torch.tensor([0.4, 0.8, 3.0], dtype=torch.float64)
    close(torch.func.vmap(one)(y, sigma), denoiser(y, sigma))
    jacobians = torch.func.vmap(torch.func.jacrev(one))(y, sigma)
    n = y[0].numel()
    close(jacobians.reshape(3, n, n), denoiser.posterior_covariance(y, sigma) / sigma[:, None, None] ** 2)
    close(torch.func.grad(lambda x: denoiser.log_density(x, 0.8).sum())(y), denoiser.score(y, 0.8))
    slope, tangent = torch.func.jvp(lambda x: denoiser.score(x, 0.8), (y,), (torch.ones_like(y),))
    close(slope, denoiser.score(y, 0.8))
    close(tangent, directional(lambda x: denoiser.score(x, 0.8), y, torch.ones_like(y)), rtol=1e-6, atol=1e-8)


def test_values_are_checked_inside_torch_func():
    law = tc.rule("parity:1x4,G=2")
    with pytest.raises(ValueError, match="fields must be finite or -inf"):
        torch.func.vmap(law.marginals)(torch.full((2, 4, 2), torch.nan))
    with pytest.raises(ValueError, match="sigma must be positive and finite"):
        torch.func.vmap(lambda y, sigma: tc.OptimalDenoiser(law)(y[None], sigma))(
            torch.zeros(2, 1, 1, 4), torch.zeros(2)
        )


def test_third_cumulants_by_enumeration():
    """d^3 log_partition along three directions is the third joint cumulant of the three sums over the support."""
    law = tc.rule("parity:2x3,G=3")
    support = torch.tensor([x for x in itertools.product((0, 1), repeat=6) if law.is_valid(torch.tensor(x))])
    generator = torch.Generator().manual_seed(7)
    h = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    directions = torch.randn(3, 6, 2, dtype=torch.float64, generator=generator)
    cells = torch.arange(6)
    sums = directions[:, cells, support].sum(-1)  # (3, n)
    weight = h[cells, support].sum(-1).softmax(0)
    centred = sums - (sums * weight).sum(-1, keepdim=True)
    expected = (centred.prod(0) * weight).sum()
    x = h.requires_grad_()
    out = law.log_partition(x)
    for direction in directions:
        out = (torch.autograd.grad(out, x, create_graph=True)[0] * direction).sum()
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-13)
