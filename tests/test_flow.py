"""The flow's laws: it can be undone, its log-determinant is autograd's, and its samples are of its law."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.models.flow import CAP, Coupling, FlowConfig, ImageFlow, Mixing, Norm, Split

TINY = FlowConfig(size=8, levels=2, steps=2, width=8)


def stirred(module, seed=0, strength=0.3):
    """A module whose every parameter says something, as after a fit."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(strength * torch.randn(parameter.shape, generator=generator))
    return module


def flow(config=TINY, seed=0, strength=0.1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return stirred(ImageFlow(config), seed, strength)


def log_det(function, x):
    """The log-determinant of a map of one x to one vector, by autograd."""
    jacobian = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return torch.linalg.slogdet(jacobian.double()).logabsdet


@pytest.mark.parametrize("make", [lambda: Norm(6), lambda: Mixing(6), lambda: Coupling(6, 8)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_layer_can_be_undone_and_knows_its_determinant(make, seed):
    torch.manual_seed(seed)
    layer, x = stirred(make(), seed), torch.randn(3, 6, 2, 2)
    y, grown = layer(x)
    torch.testing.assert_close(layer.inverse(y), x, rtol=0, atol=1e-4)
    assert not torch.allclose(y, x, atol=0.1)
    for row in range(3):
        known = log_det(lambda x: layer(x)[0], x[row : row + 1])
        assert grown[row].item() == pytest.approx(known.item(), abs=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_a_split_can_be_undone_and_knows_its_determinant(last):
    torch.manual_seed(0)
    split, x = stirred(Split(4, 2, last)), torch.randn(1, 4, 2, 2)
    kept, z, grown = split(x)
    assert (kept is None) == last
    torch.testing.assert_close(split.inverse(kept, z), x, rtol=0, atol=1e-4)
    known = log_det(lambda x: torch.cat([part.flatten() for part in split(x)[:2] if part is not None]), x)
    assert grown.item() == pytest.approx(known.item(), abs=1e-4)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 0.15))
def test_the_flow_can_be_undone_and_knows_its_determinant(seed, strength):
    model = flow(seed=seed, strength=strength).double()
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).double()
    z, grown = model(x)
    torch.testing.assert_close(model.inverse(z), x, rtol=0, atol=1e-4)
    assert grown.item() == pytest.approx(log_det(lambda x: model(x)[0], x).item(), abs=1e-4)


def test_the_inverse_holds_in_float32_at_the_size_of_frames():
    model = flow(FlowConfig(size=64, levels=3, steps=2, width=16), strength=0.03)
    with torch.no_grad():
        z = torch.randn(2, 3 * 64 * 64, generator=torch.Generator().manual_seed(0))
        x = model.inverse(z)
        torch.testing.assert_close(model(x)[0], z, rtol=0, atol=1e-4)


def test_the_density_of_a_frame_is_that_of_its_noise_and_counts_shades():
    """By hand, with the logit's slope from autograd: at a flow that does nothing, and at one that does."""
    for strength in (0.0, 0.1):
        model = flow(strength=strength)
        frames = torch.randint(256, (2, 8, 8, 3), generator=torch.Generator().manual_seed(1)).byte()
        noise = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(2))
        level = (frames + noise).movedim(-1, 1).requires_grad_()
        x = torch.logit(0.05 + 0.9 * level / 256)
        (slope,) = torch.autograd.grad(x.sum(), level)
        z, grown = model(x)
        known = torch.distributions.Normal(0, 1).log_prob(z).sum(1) + grown + slope.log().flatten(1).sum(1)
        torch.testing.assert_close(model.log_prob_of(frames, noise), known, rtol=1e-5, atol=1e-3)


def test_a_frames_figure_does_not_depend_on_its_neighbours_and_repeats():
    model = flow()
    frames = torch.randint(256, (5, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    before = torch.get_rng_state()
    with torch.no_grad():
        all_of_them = model.log_prob(frames)
        torch.testing.assert_close(model.log_prob(frames[3:4]), all_of_them[3:4], rtol=1e-6, atol=1e-3)
        assert not torch.allclose(model.log_prob(frames, seed=1), all_of_them, atol=1e-2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_first_batch_leaves_every_normalisation_white():
    model = flow(strength=0.0)
    frames = torch.randint(40, 90, (32, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    model.prepare(frames, torch.Generator().manual_seed(1))
    seen = []
    for module in model.modules():
        if isinstance(module, Norm):
            module.register_forward_hook(lambda _module, _given, out: seen.append(out[0]))
    noise = torch.rand(frames.shape, generator=torch.Generator().manual_seed(1))
    model.log_prob_of(frames, noise)
    assert len(seen) == 4
    for x in seen:
        torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(x.shape[1]), rtol=0, atol=1e-3)
        torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(x.shape[1]), rtol=0, atol=1e-2)


def test_samples_have_the_statistics_of_what_was_learned():
    """Frames whose left half is dark and whose channels go together."""
    generator = torch.Generator().manual_seed(0)
    sides = torch.tensor([80.0, 160.0]).repeat_interleave(4)[:, None]
    shade = torch.randn(256, 1, 1, 1, generator=generator) * 20 + sides
    frames = (shade + 4 * torch.randn(256, 8, 8, 3, generator=generator)).clamp(0, 255).byte()
    model = flow(FlowConfig(size=8, levels=3, steps=2, width=16), strength=0.0)
    model.prepare(frames, generator)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(150):
        optimiser.zero_grad()
        model.loss(frames[(torch.arange(64) + 64 * step) % 256], generator).backward()
        optimiser.step()
    drawn = model.sample(512, generator).float()
    real = frames.float()
    assert (drawn.mean(0) - real.mean(0)).abs().max() < 12
    assert drawn.mean((1, 2, 3)).std().item() == pytest.approx(real.mean((1, 2, 3)).std().item(), rel=0.25)
    a, b = (x[:, 2, 2, 0] - x[:, 5, 6, 2] for x in (drawn, real))
    assert a.std().item() == pytest.approx(b.std().item(), rel=0.4)
    mean = lambda x: model.log_prob(x).mean().item() / (192 * math.log(2))  # noqa: E731
    with torch.no_grad():
        assert mean(drawn.byte()) == pytest.approx(mean(frames), abs=0.3)
        assert mean(frames) > mean(torch.randint(256, frames.shape, generator=generator).byte()) + 2


def test_gradients_reach_every_parameter_and_bfloat16_changes_little():
    model = flow()
    frames = torch.randint(256, (4, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    exact = model.loss(frames, torch.Generator().manual_seed(0))
    exact.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.loss(frames, torch.Generator().manual_seed(0))
    assert rough.dtype == torch.float32 and rough.item() == pytest.approx(exact.item(), abs=0.02)


def test_a_coupling_is_bounded_and_wrong_frames_are_refused():
    layer = stirred(Coupling(4, 8), strength=5.0)
    assert layer(torch.randn(1, 4, 2, 2))[1].abs().item() <= CAP * 8
    with pytest.raises(ValueError, match="resize"):
        flow().log_prob(torch.zeros(1, 9, 9, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="resize"):
        flow().log_prob(torch.zeros(1, 8, 8, 3))
    with pytest.raises(ValueError, match="multiple"):
        FlowConfig(size=12, levels=3)
