"""Bets against the hypothesis that all is as usual, and how what they win is summed over time."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Kind = Literal["shiryaev-roberts", "cusum", "martingale"]
"""How bets are summed: over all moments when a change may have begun, from the likeliest of them, or as one wager."""
KINDS = get_args(Kind)
LONGEST = 100.0  # frames beyond which neighbours are held to be strangers
LAGS = 200


def log_bet(p: np.ndarray) -> np.ndarray:
    """What a bettor wins on p-values in (0, 1], in nats: (1 - p + p log p) / (p log(p)^2).

    Its mean under a uniform law is 1, and below where p-values are steps of a conformal rank. It is the mean of all
    bets k p^(k - 1) with k uniform in 0..1: E-values: Calibration, combination, and applications (Vovk and Wang, 2019),
    arXiv:1912.06116.
    """
    p = np.asarray(p, np.float64)
    near = 1.0 - p < 1e-4
    q = np.where(near, 0.5, p)
    log_q = np.log(q)
    bet = (1.0 - q + q * log_q) / (q * log_q * log_q)
    return np.log(np.where(near, 0.5 + (1.0 - p) / 6.0, bet))


def forgetting(streams: list[np.ndarray]) -> float:
    """Frames that tell as much as one independent frame would (>= 1): the integrated autocorrelation time of streams.

    Bets are raised to the power of one over this: were frames independent when so many lie between them, the product
    would be a geometric mean of martingales, whose mean is at most 1 (Hoelder). An autocorrelation time stands in for
    such a distance, so that this holds about, not exactly; whole episodes that are odd are outside it.
    """
    whole = np.concatenate(streams)
    centre, power, total = whole.mean(), float(whole.var()), 1.0
    if power <= 0:
        return 1.0
    for lag in range(1, LAGS):
        pairs = [(s[lag:] - centre) * (s[:-lag] - centre) for s in streams if len(s) > 2 * lag]
        if not pairs:
            break
        share = float(np.concatenate(pairs).mean()) / power
        if share < 0.02:
            break
        total += 2 * share
    return float(np.clip(total, 1.0, LONGEST))


class Evidence:
    """What bets won since each row began; shape (...,), in nats.

    Arguments:
        shape: rows.
        kind: see `Kind`.
    """

    def __init__(self, shape: tuple[int, ...], kind: Kind = "shiryaev-roberts") -> None:
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: give one of {', '.join(KINDS)}")
        self.kind = kind
        self.sum, self.steps = np.full(shape, -np.inf), np.zeros(shape)

    def reset(self, rows: np.ndarray) -> None:
        """Begins anew in the rows of a bool mask."""
        self.sum, self.steps = np.where(rows, -np.inf, self.sum), np.where(rows, 0.0, self.steps)

    def step(self, bet: np.ndarray) -> np.ndarray:
        """The logarithm of what was won after one more bet (...,) in nats.

        shiryaev-roberts: R = (1 + R) bet; R less the number of frames has no upward drift under the null (Roberts,
        1966, doi:10.1080/00401706.1966.10490374). cusum: W = max(1, W) bet (Page, 1954, doi:10.1093/biomet/41.1-2.100).
        Both as e-detectors: Shin et al., 2022, arXiv:2203.03532. martingale: one wager of 1, of which 1 / (t (t + 1))
        is put in at frame t: under the null its mean is at most 1 at any time, so that it is an e-process.
        """
        self.steps = self.steps + 1
        if self.kind == "cusum":
            self.sum = np.maximum(self.sum, 0.0) + bet
            return self.sum
        if self.kind == "shiryaev-roberts":
            self.sum = np.logaddexp(self.sum, 0.0) + bet
            return self.sum
        self.sum = np.logaddexp(self.sum, -np.log(self.steps * (self.steps + 1))) + bet
        return np.logaddexp(self.sum, -np.log(self.steps + 1))
