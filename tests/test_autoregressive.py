"""The PixelCNN's laws: probabilities that sum to one, nothing seen too early, samples of its own law."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.models.autoregressive import LEFT, LOOKS, RIGHT, UP, PixelCNN, PixelConfig, framed, looks
from gensim.models.logistic import Colours, numbers

TINY = PixelConfig(size=2, width=8, blocks=2, mixtures=2, shades=2)
SMALL = PixelConfig(size=9, width=8, blocks=4, mixtures=3)


def cnn(config, strength=0.3, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PixelCNN(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(strength * torch.randn(parameter.shape))
        return model


def colours(seed, shades, k=3, a=2, n=1, strength=3.0):
    """A law of random numbers, with atoms among the colours that there are."""
    generator = torch.Generator().manual_seed(seed)
    told = strength * torch.randn(n, numbers(k, a), generator=generator)
    anchors, atoms = torch.randint(shades, (2, n, a, 3), generator=generator)
    return Colours.of(told, anchors, atoms, shades)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 6]), st.floats(0.1, 20))
def test_a_law_over_colours_sums_to_one(seed, shades, strength):
    law = colours(seed, shades, strength=strength)
    every = torch.tensor([*itertools.product(range(shades), repeat=3)])
    total = torch.stack([law.log_prob(colour[None]) for colour in every]).exp().sum()
    assert total.item() == pytest.approx(1, abs=2e-5)


def test_a_channel_of_256_shades_sums_to_one_however_narrow_or_far():
    for scale, offset in itertools.product((-9.0, -2.0, 1.0, 9.0), (-40.0, 0.0, 3.3, 40.0)):
        told = torch.zeros(1, numbers(1, 0))
        told[0, 1:4], told[0, 4:7] = offset, scale
        law = Colours.of(told, torch.full((1, 1, 3), 100), torch.zeros(1, 0, 3), 256)
        reds = torch.arange(256.0)[:, None, None].expand(256, 1, 3)
        mass = (law.log_prob(reds[:, 0]).exp()).double()
        assert torch.isfinite(law.log_prob(reds[:, 0])).all()
        root = mass ** (1 / 3)  # the three channels are alike and do not lean on each other
        assert root.sum().item() == pytest.approx(1, abs=0.2)  # the floor adds (1e-6 / 256 ** 3) ** (1 / 3) * 256
        assert ((mass - 1e-6 / 256**3).clamp_min(0) ** (1 / 3)).sum().item() == pytest.approx(1, abs=2e-3)


def test_drawn_colours_come_as_often_as_the_law_says():
    law = colours(3, 4, strength=1.5)
    every = torch.tensor([*itertools.product(range(4), repeat=3)])
    known = torch.stack([law.log_prob(colour[None])[0] for colour in every]).exp().double()
    n = 60_000
    wide = Colours(*(getattr(law, name).expand(n, *getattr(law, name).shape[1:]) for name in list(vars(law))[:-1]), 4)
    drawn = wide.draw(torch.rand(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).long()
    seen = torch.bincount(drawn @ torch.tensor([16, 4, 1]), minlength=64).double()
    often = n * known > 5
    chi2 = ((seen - n * known) ** 2 / (n * known))[often].sum().item()
    assert chi2 < often.sum() + 4 * math.sqrt(2 * often.sum()) and often.sum() > 10
    assert seen[~often].sum() < 2 * n * known[~often].sum() + 20


def test_probabilities_of_a_small_image_space_sum_to_one_and_are_the_samples_frequencies():
    model = cnn(TINY)
    world = torch.tensor([*itertools.product(range(2), repeat=12)]).view(-1, 2, 2, 3).byte()
    with torch.no_grad():
        known = model.log_prob(world).double().exp()
    assert known.sum().item() == pytest.approx(1, abs=1e-5)
    n = 40_000
    frames = model.sample(n, torch.Generator().manual_seed(0)).flatten(1).long()
    count = torch.bincount((frames * 2 ** torch.arange(11, -1, -1)).sum(1), minlength=4096).double()
    order = known.argsort(descending=True)
    cells = (n * known[order].cumsum(0) / 500).long()
    sums = [torch.zeros(int(cells[-1]) + 1).double().index_add_(0, cells, x[order]) for x in (n * known, count)]
    chi2 = ((sums[1] - sums[0]) ** 2 / sums[0].clamp_min(1)).sum().item()
    assert len(sums[0]) > 15 and chi2 < 2.2 * len(sums[0])


def test_cached_samples_are_the_slow_ones():
    """The same noise, once through what is remembered and once through the whole frame for every pixel."""
    model, n = cnn(SMALL, strength=0.15), 3
    frames = model.sample(n, torch.Generator().manual_seed(5))
    noise = torch.rand(n, 9, 9, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    slow = torch.zeros(n, 9, 9, 3, dtype=torch.uint8)
    with torch.no_grad():
        for r, c in itertools.product(range(9), range(9)):
            slow[:, r, c] = model.law(slow).draw(noise)[:, r, c]
    assert torch.equal(frames, slow) and len(frames.flatten().unique()) > 50


def test_what_is_remembered_is_what_the_whole_frame_gives(monkeypatch):
    model, told = cnn(SMALL, strength=0.15), []
    judge = model.judge
    monkeypatch.setattr(model, "judge", lambda h, near: told.append(h) or judge(h, near))
    frames = model.sample(2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model.features(framed(frames))
    pieces = torch.cat(told, -1).view(2, 8, 9, 9)
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("at", [(0, 0), (0, 5), (4, 0), (4, 4), (5, 8), (8, 8)])
def test_no_pixel_is_seen_before_its_time(at):
    model, (r, c) = cnn(SMALL), at
    canvas = framed(torch.randint(256, (1, 9, 9, 3))).requires_grad_()
    model.features(canvas)[0, :, r, c].sum().backward()
    seen = canvas.grad[0, UP:, LEFT:-RIGHT].abs().sum(-1) > 0  # (9, 9)
    index = torch.arange(81).view(9, 9)
    assert not seen[index >= index[r, c]].any()
    past = [(r, c - 1)] * (c > 0) + [(r - 1, c)] * (r > 0) + [(r - 1, c + 1)] * (r > 0 and c < 8)
    assert all(seen[place] for place in past)
    if at == (8, 8):
        assert seen[:8].all()  # the dilated blocks leave no hole in so small a frame


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 80), st.integers(0, 1000))
def test_the_law_of_a_pixel_ignores_what_comes_later(index, seed):
    model = cnn(SMALL)
    a, b = torch.randint(256, (2, 81, 3), generator=torch.Generator().manual_seed(seed)).byte()
    b[:index] = a[:index]
    with torch.no_grad():
        one, two = (model.law(x.view(1, 9, 9, 3)) for x in (a, b))
    for name in ("weight", "base", "offset", "log_scale", "lean", "atoms"):
        pair = [getattr(law, name).flatten(1, 2)[0, : index + 1] for law in (one, two)]
        torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5)


def test_neighbours_are_where_they_are_said_to_be():
    frames = torch.arange(81).view(1, 9, 9, 1).expand(1, 9, 9, 3)
    near = looks(framed(frames), 0, 0, 9, 9)[0, ..., 0]
    for i, (down, right) in enumerate(LOOKS):
        assert near[4, 4, i] == 9 * (4 + down) + 4 + right
    assert (looks(framed(frames), 4, 4, 1, 1)[0, 0, 0, :, 0] == near[4, 4]).all()
    assert near[0, 0].sum() == 0  # black around the frame


def test_flat_frames_cost_almost_nothing_after_some_steps():
    """Frames of two flat halves: what is left to say is some colours and an edge."""
    model = cnn(PixelConfig(size=16, width=16, blocks=2, mixtures=2), strength=0.0)
    generator = torch.Generator().manual_seed(0)
    optimiser, bits = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(60):
        pair = torch.randint(256, (16, 1, 1, 6), generator=generator)
        edge = torch.randint(2, 14, (16, 1, 1, 1), generator=generator)
        row = torch.where(torch.arange(16)[:, None] < edge, pair[..., :3], pair[..., 3:])  # (16, 1, 16, 3)
        frames = row.expand(16, 16, 16, 3).byte()
        optimiser.zero_grad()
        loss = model.loss(frames)
        loss.backward()
        bits.append(loss.item())
        optimiser.step()
    assert bits[-1] < 0.13 < 2 * bits[-1] < bits[0]  # two colours of 24 bits and an edge are 0.07
    assert model.loss(torch.randint(256, (2, 16, 16, 3), generator=generator).byte()) > 8


def test_gradients_reach_every_parameter_and_bfloat16_changes_little():
    model = cnn(SMALL, strength=0.05)
    frames = torch.randint(256, (4, 9, 9, 3), generator=torch.Generator().manual_seed(0)).byte()
    exact = model.loss(frames)
    exact.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.loss(frames)
    assert rough.dtype == torch.float32 and rough.item() == pytest.approx(exact.item(), rel=0.01)


def test_no_frame_is_impossible_and_sampling_touches_no_global_generator():
    model = cnn(SMALL, strength=1.0)
    frames = torch.randint(256, (4, 9, 9, 3), generator=torch.Generator().manual_seed(0)).byte()
    floor = 81 * (math.log(1e-6) - 3 * math.log(256))
    assert (model.log_prob(frames) >= floor - 1).all()
    before = torch.get_rng_state()
    one, two = (model.sample(2, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(torch.get_rng_state(), before)
    assert one.dtype == torch.uint8 and one.shape == (2, 9, 9, 3)


def test_wrong_frames_and_settings_are_refused():
    with pytest.raises(ValueError, match=r"\(n, 9, 9, 3\).*resize"):
        cnn(SMALL).log_prob(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="below 2 only"):
        cnn(TINY).log_prob(torch.full((1, 2, 2, 3), 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="even width"):
        PixelConfig(width=7)
    with pytest.raises(ValueError, match="shades=300"):
        PixelConfig(shades=300)
    assert np.isclose(numbers(2, 6), 26)
