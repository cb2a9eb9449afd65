"""The bound's laws: below the truth, closer with more samples, and a truth that sums to one."""

import itertools
import math

import pytest
import torch

from gensim.models.bits import bits_per_dim
from gensim.models.bound import BoundConfig, FrameVAE, divergence

TINY = BoundConfig(size=2, width=4, halvings=1, latent=1, mixtures=2, shades=2)
SMALL = BoundConfig(size=8, width=4, halvings=2, latent=3, mixtures=2)
WORLD = torch.tensor([*itertools.product(range(2), repeat=12)]).view(-1, 2, 2, 3).byte()


def vae(config=TINY, strength=0.4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FrameVAE(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(strength * torch.randn(parameter.shape))
        return model


@pytest.fixture(scope="module")
def truth():
    """A small model and the log-probability (4096,) of each of its frames, by quadrature over its one latent."""
    model, grid = vae(), torch.linspace(-6, 6, 121)
    with torch.no_grad():
        prior = -0.5 * (grid**2 + math.log(2 * math.pi)) + math.log(12 / 120)
        each = torch.stack([model.law(z.view(1, 1)).log_prob(WORLD).sum((1, 2)) for z in grid])  # (grid, 4096)
        return model, (each + prior[:, None]).logsumexp(0)


def test_probabilities_of_a_small_image_space_sum_to_one(truth):
    assert truth[1].exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_bounds_lie_below_the_truth_and_come_closer_with_samples(truth):
    model, known = truth
    frames, known = WORLD[::400], known[::400]
    noise, grid = torch.randn(2048, 1, generator=torch.Generator().manual_seed(0)), torch.linspace(-6, 6, 121)
    with torch.no_grad():
        weights = model.log_weights(frames, noise)  # (2048, 11)
        normal = (-0.5 * grid**2).softmax(0)
        exact = normal @ model.log_weights(frames, grid[:, None])  # (11,) the mean over all noise
        elbo = torch.stack([model.elbo(frames, 1, seed) for seed in range(300)])
        four = model.log_prob(frames, 4, seed=0)
    error = elbo.std(0) / 300**0.5
    assert ((elbo.mean(0) - exact).abs() < 4.5 * error + 1e-3).all()  # the divergence by formula, and summed
    bound = lambda k: (weights.view(-1, k, 11).logsumexp(1) - math.log(k)).mean(0)  # noqa: E731
    assert bound(1).mean() < bound(8).mean() < bound(64).mean() < known.mean() + 0.01
    assert (bound(1) - known).abs().max() > 0.1
    same = torch.randn(4, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(four, model.log_weights(frames, same).logsumexp(0) - math.log(4))


def test_weights_are_the_truth_over_what_drew_the_latent(truth):
    """Summed over all latents, p(frame, z) / q(z | frame) under q is p(frame), whatever q is."""
    model, known = truth
    frames, grid = WORLD[::400], torch.linspace(-6, 6, 121)
    with torch.no_grad():
        mean, log_std = model.encode(frames)  # (11, 1)
        noise = (grid[:, None, None] - mean) / log_std.exp()  # (121, 11, 1)
        drawn = -0.5 * (noise**2 + math.log(2 * math.pi)) - log_std + math.log(12 / 120)
        total = (model.log_weights(frames, noise) + drawn[..., 0]).logsumexp(0)
    torch.testing.assert_close(total, known[::400], rtol=0, atol=1e-3)


def test_sampled_frames_come_as_often_as_their_probability_says(truth):
    model, known = truth
    frames = model.sample(40_000, torch.Generator().manual_seed(0)).flatten(1).long()
    index = (frames * 2 ** torch.arange(11, -1, -1)).sum(1)
    count = torch.bincount(index, minlength=4096).double()
    order = known.argsort(descending=True)
    expected, seen = (40_000 * known.exp().double())[order], count[order]
    cells = (expected.cumsum(0) / 1000).long()  # some forty cells of about a thousand frames each
    expected, seen = (torch.zeros(int(cells[-1]) + 1).double().index_add_(0, cells, x) for x in (expected, seen))
    chi2 = ((seen - expected) ** 2 / expected.clamp_min(1)).sum().item()
    assert len(expected) > 15 and chi2 < 2.2 * len(expected)


def test_the_divergence_is_torchs():
    mean, log_std = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    q, p = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(divergence(mean, log_std), torch.distributions.kl_divergence(q, p).sum(-1))


def test_a_frames_figure_does_not_depend_on_its_neighbours_and_repeats():
    model = vae(SMALL)
    frames = torch.randint(256, (5, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    before = torch.get_rng_state()
    with torch.no_grad():
        both = [model.log_prob(frames, 4), model.elbo(frames, 2)]
        alone = [model.log_prob(frames[3:4], 4), model.elbo(frames[3:4], 2)]
    torch.testing.assert_close([x[3:4] for x in both], alone, rtol=1e-5, atol=1e-3)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_reach_every_parameter_and_learning_lowers_the_bits():
    model = vae(BoundConfig(size=8, width=8, halvings=2, latent=4, mixtures=2), strength=0.0)
    generator = torch.Generator().manual_seed(0)
    shade = torch.randint(60, 200, (64, 1, 1, 3), generator=generator)
    frames = (shade + torch.randint(6, (64, 8, 8, 3), generator=generator)).byte()
    optimiser, bits = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(150):
        optimiser.zero_grad()
        loss = model.loss(frames, generator)
        loss.backward()
        bits.append(loss.item())
        optimiser.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert bits[0] > 7.5 and bits[-1] < 6.8
    drawn = model.sample(200, generator).float()
    assert (drawn.mean((0, 1, 2)) - frames.float().mean((0, 1, 2))).abs().max() < 25
    with torch.no_grad():
        again = bits_per_dim(model.log_prob(frames, 8), frames).mean().item()
    assert again == pytest.approx(bits[-1], abs=0.3)


def test_wrong_frames_and_settings_are_refused():
    with pytest.raises(ValueError, match="resize"):
        vae(SMALL).log_prob(torch.zeros(1, 16, 16, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="below 2 only"):
        vae().log_prob(torch.full((1, 2, 2, 3), 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least 1"):
        vae(SMALL).log_prob(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), samples=0)
    with pytest.raises(ValueError, match="multiple"):
        BoundConfig(size=24, halvings=4)
    with pytest.raises(ValueError, match="shades=1"):
        BoundConfig(shades=1)
