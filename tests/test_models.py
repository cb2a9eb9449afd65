"""The laws of the models: probabilities that sum to one, means that are right, gradients that arrive."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.core.seeds import Stream, fold, philox, uniform
from gensim.models.cellular import CellDynamics
from gensim.models.dynamics import Dynamics
from gensim.models.heads import GAIN, DisagreementHead, RewardHead, Tally, TerminationHead
from gensim.models.levels import Levels
from gensim.models.vae import (
    Cells,
    Decoder,
    Encoder,
    coarse,
    fine,
    grid_of,
    log_softmax_unimix,
    sample_straight_through,
)
from gensim.world.config import NetConfig
from gensim.world.fast import greatest

WIDTHS = (8, 8, 16, 16)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, words):
    out = philox(np.array(counter, np.uint64), np.array(key, np.uint64))
    assert " ".join(f"{int(w):08x}" for w in out) == words


def test_draws_are_uniform_and_independent_of_their_neighbours():
    seeds = np.arange(2000, dtype=np.uint64)
    u = uniform(seeds, Stream.PRIOR, np.zeros(2000, np.int64), 32)
    assert u.min() > 0 and u.max() < 1
    counts = np.histogram(u, 64)[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 120  # chi-square, 63 degrees of freedom
    assert abs(np.corrcoef(u.T)[np.triu_indices(32, 1)]).max() < 0.12
    alone = uniform(seeds[7:8], Stream.PRIOR, np.zeros(1, np.int64), 5)
    np.testing.assert_array_equal(alone[0], u[7, :5])


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 2**40))
def test_folded_keys_differ_and_repeat(seed, i, j):
    seeds = np.array([seed], np.uint64)
    assert fold(seeds, i) == fold(seeds, i)
    assert (fold(seeds, i) == fold(seeds, j)) == (i == j)


@given(st.floats(0.001, 0.5), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_unimix_is_a_law_with_a_floor(unimix, seed):
    logits = 30 * torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(seed))
    log_p = log_softmax_unimix(logits, unimix)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(5, 3))
    assert log_p.min() >= np.log(unimix / 7) - 1e-4


def test_straight_through_samples_have_the_laws_frequencies_and_gradient():
    log_p = torch.tensor([0.1, 0.2, 0.7]).log().requires_grad_()
    z = sample_straight_through(log_p.expand(20_000, 3), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(z.detach().mean(0), [0.1, 0.2, 0.7], atol=0.015)
    assert set(np.unique(z.detach().round(decimals=5))) == {0.0, 1.0}
    z.mean(0)[2].backward()
    torch.testing.assert_close(log_p.grad, torch.tensor([0.0, 0.0, 0.7]))


def test_each_group_is_drawn_on_its_own():
    log_p = torch.full((20_000, 2, 2), 0.5).log()
    z = sample_straight_through(log_p, torch.Generator().manual_seed(1))[..., 0]
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.03  # one choice for the whole latent would give 1


@pytest.mark.parametrize(("cells", "light"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("widths", [WIDTHS, WIDTHS[1:]])
@pytest.mark.parametrize("shape", [(32, 32), (48, 48), (64, 96)])
def test_frames_keep_their_shape_and_every_weight_gets_a_gradient(shape, widths, cells, light):
    torch.manual_seed(shape[0])  # now and then all of so few units are dead from the first
    widths = widths[1:] if cells else widths
    groups = 8 * math.prod(grid_of(shape, widths, True)) if cells else 4
    encoder = Encoder(shape, widths, groups, 5, cells)
    decoder = Decoder(shape, widths, groups, 5, cells=cells, light=light)
    x = torch.rand(3, 3, *shape)
    z = sample_straight_through(log_softmax_unimix(encoder(x), 0.01))
    assert z.shape == (3, groups, 5)
    y = decoder(z)
    assert y.shape == x.shape
    ((y - x) ** 2).sum().backward()
    for name, p in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert p.grad is not None and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"groups": 32, "cells": True, "widths": (8, 8, 8)}, "the 4 patches of 16 cells"),
        ({"groups": 32, "stages": 5}, "of 5 stages"),
        ({"groups": 128, "cells": True, "stages": 16, "widths": (8, 8, 8)}, "a cell are a multiple of 16 stages"),
        (
            {"groups": 384, "width": 96, "cells": True, "hidden": 48, "widths": (8, 8)},
            "hidden=48: .* of twice the 96 cells",
        ),
        ({"widths": (8, 8)}, "three or four"),
        ({"cells": True}, "two or three, with cells"),
        ({"light": True}, "give --cells, too"),
    ],
)
def test_variables_that_cannot_be_dealt_out_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        NetConfig(**wrong)


def test_cells_come_variable_by_variable_and_their_patches_as_on_a_chequerboard():
    """Of cells 1 x 3 with two variables a patch: first ones of the upper left patches, of the lower right ones, ..."""
    cells, scalars = Cells((1, 3), 24), 5
    patch = torch.arange(12.0).view(1, 1, 2, 6) + torch.tensor([0.0, 100.0]).view(1, 2, 1, 1)  # (1, variable, h, w)
    x = patch.repeat_interleave(scalars, 1)  # (1, variables * scalars, h, w)
    z = cells.ordered(coarse(x, scalars))
    first = [0, 2, 4, 7, 9, 11, 1, 3, 5, 6, 8, 10]
    assert z[0, :, 0].tolist() == [*first, *(100 + i for i in first)] and (z == z[..., :1]).all()
    assert torch.equal(fine(cells.placed(z), scalars), x)


def told(clock: bool) -> Dynamics:
    """Small dynamics; with a clock, one that has learned to go by it."""
    dynamics = Dynamics(groups=4, classes=5, actions=2, hidden=16, clock=clock)
    torch.nn.init.normal_(dynamics.initial)
    if dynamics.clock is not None:
        torch.nn.init.normal_(dynamics.clock.weight)
        dynamics.late.fill_(300)
    return dynamics


@pytest.mark.parametrize("clock", [False, True])
def test_one_pass_over_a_window_equals_one_step_after_the_other(clock):
    dynamics = told(clock)
    index, act = torch.randint(5, (3, 6, 4)), torch.rand(3, 6, 2)
    first, steps = torch.tensor([True, False, True]), torch.tensor([[-1.0], [40.0], [-1.0]]) + torch.arange(6)
    h = dynamics.unroll(torch.eye(5)[index], act, steps, first)
    step = dynamics.initial[first.long()]
    for t in range(6):
        torch.testing.assert_close(h[:, t], step)
        if t < 5:
            step = dynamics.cell(dynamics.inputs_of(index[:, t], act[:, t + 1], steps[:, t + 1]), step)


@pytest.mark.parametrize("clock", [False, True])
def test_dynamics_without_a_clock_do_not_go_by_the_hour(clock):
    """A new clock says nothing; one that was learned from is heard up to the longest episode, and no further."""
    act, z = torch.rand(1, 2).expand(4, -1), torch.randint(5, (1, 4)).expand(4, -1)
    hours = torch.tensor([0.0, 60.0, 300.0, 900.0])
    new = Dynamics(groups=4, classes=5, actions=2, hidden=16, clock=clock).inputs_of(z, act, hours)
    gates = told(clock).inputs_of(z, act, hours)
    assert (new == new[:1]).all() and torch.equal(gates[2], gates[3])
    assert [torch.equal(gates[0], gates[hour]) for hour in (1, 2)] == [not clock] * 2


def test_memory_reads_the_past_alone():
    dynamics = Dynamics(groups=4, classes=5, actions=2, hidden=16)
    z, act, steps = torch.eye(5)[torch.randint(5, (1, 6, 4))], torch.rand(1, 6, 2), torch.arange(6.0)[None]
    h = dynamics.unroll(z, act, steps, torch.ones(1).bool())
    z2, act2 = z.clone(), act.clone()
    z2[:, 3:], act2[:, 4:] = z2[:, 3:].roll(1, -1), 1 - act2[:, 4:]
    h2 = dynamics.unroll(z2, act2, steps, torch.ones(1).bool())
    torch.testing.assert_close(h[:, :4], h2[:, :4])  # h_3 has read z_2 and a_3, neither changed
    assert not torch.allclose(h[:, 4], h2[:, 4])


def test_prior_of_a_small_latent_sums_to_one():
    dynamics = Dynamics(groups=3, classes=4, actions=2, hidden=16)
    log_p = log_softmax_unimix(dynamics.prior(torch.randn(1, 16)), 0.01)[0].detach()
    total = sum(sum(log_p[g, c] for g, c in enumerate(z)).exp() for z in itertools.product(range(4), repeat=3))
    assert float(total) == pytest.approx(1, abs=1e-5)


@given(st.integers(0, 2**32), st.sampled_from([2, 5, 6, 9, 32]))
@settings(max_examples=30, deadline=None)
def test_scalars_can_be_read_off_laws_and_gradients_pass_rounding(seed, classes):
    torch.manual_seed(seed)
    levels = Levels(classes)
    x = torch.randn(7, levels.scalars, requires_grad=True)
    logits = levels.logits(x)
    inside = x.tanh() * (levels.points.max(0).values + 0.5)
    torch.testing.assert_close(levels.read(logits + torch.randn(7, 1)), inside, atol=1e-4, rtol=1e-4)
    drawn = torch.eye(classes)[levels.logits(x).softmax(-1).argmax(-1)]
    z = levels.straight(logits, drawn)
    torch.testing.assert_close(z, drawn, atol=1e-5, rtol=0)
    near = (z.detach() @ levels.points - inside.detach()).abs()
    assert near.max() <= 0.5 + 1e-4  # the nearest point
    (z @ levels.points).sum().backward()
    expected = torch.autograd.grad(inside.sum(), x)[0]
    torch.testing.assert_close(x.grad, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("light", [False, True])
def test_first_weights_keep_a_signals_size(light):
    torch.manual_seed(0)
    encoder = Encoder((64, 96), (32, 64), 768, 32, cells=True)
    decoder = Decoder((64, 96), (32, 64), 768, 32, 9, cells=True, light=light)
    with torch.no_grad():
        logits = encoder(torch.randn(4, 3, 64, 96))
        scalars = encoder.levels.read(logits) / encoder.levels.points.max(0).values
        frames, told = decoder.labelled(torch.eye(32)[torch.randint(32, (4, 768))])
    for signal in (scalars, frames, told):
        assert 0.2 < signal.std() < 3


def celled(stages: int = 4, **more) -> CellDynamics:
    """Small dynamics of two cells of four variables each."""
    torch.manual_seed(0)
    dynamics = CellDynamics((1, 2), groups=8, classes=2, actions=2, hidden=32, stages=stages, **more)
    for weight in (dynamics.initial, dynamics.prior_out.bias):
        torch.nn.init.normal_(weight)
    return dynamics


def test_a_grid_in_one_pass_over_a_window_equals_one_step_after_the_other():
    dynamics = celled(conditions=1)
    index, act, cond = torch.randint(2, (3, 6, 8)), torch.rand(3, 6, 2), torch.rand(3, 1)
    first, steps = torch.tensor([True, False, True]), torch.arange(6.0).expand(3, -1)
    z = torch.eye(2)[index]
    h = dynamics.unroll(z, act, steps, first, cond)
    step = dynamics.initial[first.long()]
    for t in range(6):
        torch.testing.assert_close(h[:, t], step)
        if t < 5:
            step = dynamics.cell(dynamics.inputs_of(index[:, t], act[:, t + 1], steps[:, t + 1], cond), step)
    later = z.clone()
    later[:, 3:] = 1 - later[:, 3:]
    torch.testing.assert_close(dynamics.unroll(later, act, steps, first, cond)[:, :4], h[:, :4])  # it read the past


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_the_prior_of_a_grid_sums_to_one_and_stages_hear_those_before(stages):
    dynamics, h = celled(stages), torch.randn(1, 32)
    every = torch.tensor([*itertools.product(range(2), repeat=8)])  # (256, 8)
    z = torch.eye(2)[every]
    with torch.no_grad():
        log_p = log_softmax_unimix(dynamics.prior(h.expand(256, -1), None, z), 0.01)
        read = dynamics.read(h).expand(256, -1)
        for stage in range(stages):  # of indices, the same as of one-hot latents
            at = dynamics.part(stage)
            law = log_softmax_unimix(dynamics.stage(read, None, stage), 0.01)
            torch.testing.assert_close(law, log_p[:, at])
            read = read + dynamics.told_of(every[:, at], dynamics.table(stage)) if stage + 1 < stages else read
    assert float((log_p * z).sum((1, 2)).exp().sum()) == pytest.approx(1, abs=1e-5)
    size = 8 // stages
    assert log_p[:, :size].std(0).max() < 1e-6
    assert stages == 1 or log_p[:, size : 2 * size].std(0).min() > 1e-6


@given(st.integers(0, 2**32), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_the_greatest_of_several_is_found_and_the_first_of_equal_ones(seed, k):
    x = torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, (k, 5, 7)).astype(np.float32))
    assert np.array_equal(greatest(x).numpy(), x.numpy().argmax(0))


def test_cells_are_alike():
    """But for its edges and what is usual where, a grid that is shifted is told the same, shifted."""
    torch.manual_seed(0)
    dynamics, index = CellDynamics((5, 8), 40, 3, 2, 160, summary=4), torch.randint(3, (1, 5, 8))
    flat = lambda grid: grid.flatten(1)  # noqa: E731
    act, steps = torch.zeros(1, 2), torch.zeros(1)
    with torch.no_grad():
        one, two = (dynamics.inputs_of(flat(x), act, steps).view(5, 8, -1) for x in (index, index.roll(1, 2)))
    torch.testing.assert_close(one[1:-1, 1:-2], two[1:-1, 2:-1])


@given(st.floats(-400, 400))
@settings(max_examples=50, deadline=None)
def test_two_hot_targets_have_the_reward_as_their_mean(reward):
    head = RewardHead(3, 4)
    logits = torch.zeros(1, len(head.bins), requires_grad=True)
    head.loss(logits, torch.tensor([reward])).sum().backward()
    target = logits.detach().softmax(-1) - logits.grad  # the gradient of a cross-entropy
    assert float(target[0].double() @ head.bins.double()) == pytest.approx(reward, rel=1e-3, abs=1e-3)
    assert (target > 1e-6).sum() <= 2


def test_weighted_termination_gives_back_the_datas_own_probability():
    head = TerminationHead(2, 4, weight=50)
    logit = torch.zeros(1, requires_grad=True)
    term = (torch.arange(1000) < 10).float()
    optimiser = torch.optim.LBFGS([logit], max_iter=100)
    optimiser.step(lambda: _step(optimiser, head.loss(logit.expand(1000), term).mean()))
    assert float(head.log_odds(logit).detach().sigmoid()) == pytest.approx(0.01, rel=0.02)


@given(st.floats(-2900, 2900), st.floats(0, 2900))
@settings(max_examples=50, deadline=None)
def test_a_tally_is_read_between_its_knots(returns, steps):
    """A table whose entries are their own places gives back the place: the sum of both logarithms."""
    tally = Tally(1)
    with torch.no_grad():
        tally.table.copy_(torch.linspace(-8, 8, 257)[None, :, None].expand(2, -1, 1) / GAIN)
        read = float(tally(torch.tensor([[returns, steps]])))
    assert read == pytest.approx(np.sign(returns) * np.log1p(abs(returns)) + np.log1p(steps), abs=1e-3)


def test_a_head_learns_that_nothing_comes_after_a_sum():
    torch.manual_seed(0)
    head = RewardHead(3, 16)
    optimiser = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(300):
        tally = torch.rand(128, 2) * torch.tensor([1000.0, 250.0])
        loss = head.loss(head(torch.zeros(128, 3), tally), 3.0 * (tally[:, 0] < 900)).mean()
        _step(optimiser, loss)
        optimiser.step()
    with torch.no_grad():
        said = head.mean(head(torch.zeros(3, 3), torch.tensor([[100.0, 50], [800, 200], [980, 200]])))
    assert said[:2].min() > 2.5 and said[2] < 0.5


def _step(optimiser, loss):
    optimiser.zero_grad()
    loss.backward()
    return loss


def test_disagreement_falls_where_there_were_data_and_not_elsewhere():
    torch.manual_seed(0)
    head = DisagreementHead(4, 6)
    optimiser = torch.optim.Adam(head.parameters(), 3e-3)
    h, z = torch.rand(256, 4), torch.eye(6)[torch.randint(6, (256,))]
    for _ in range(300):
        optimiser.zero_grad()
        head.loss(h, z, (torch.rand(4, 256) < 0.7).float()).mean().backward()
        optimiser.step()
    with torch.no_grad():
        assert head.score(h).mean() + 1 < head.score(10 * torch.randn(256, 4)).mean()
