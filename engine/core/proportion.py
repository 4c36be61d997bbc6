"""Shares of people, and what may honestly be claimed of them: an interval for each, and whether two differ by more than chance.
Exact and small on purpose; no winner is declared below significance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import exp, lgamma, sqrt

#: Two-sided, at 5 %.
SIGNIFICANT = 0.05
Z = 1.959963984540054
#: Equal probabilities may differ in their last digits.
ALIKE = 1 + 1e-7


@dataclass(frozen=True)
class Share:
    """`of` people, `count` of whom did it."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        """None where there was nobody."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95 % (Wilson 1927): honest also for few people and for shares near 0 and 1."""
        if not self.of:
            return 0.0, 1.0
        p, n, z2 = self.count / self.of, self.of, Z * Z
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        reach = Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        low = 0.0 if self.count == 0 else max(0.0, middle - reach)
        return low, 1.0 if self.count == n else min(1.0, middle + reach)


def difference(one: Share, other: Share) -> float:
    """The probability (two-sided) of a difference as great as this by chance alone: Fisher's exact test, right for any number of
    people. 1.0 where somebody had nobody."""
    yes, everyone = one.count + other.count, one.of + other.of
    least, most = max(0, yes - other.of), min(one.of, yes)
    total = _ways(everyone, yes)
    chance = [exp(_ways(one.of, k) + _ways(other.of, yes - k) - total) for k in range(least, most + 1)]
    observed = chance[one.count - least]
    return min(1.0, sum(p for p in chance if p <= observed * ALIKE))


def _ways(n: int, k: int) -> float:
    """The logarithm of n over k."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


@dataclass(frozen=True)
class Claim:
    """What may be said of several arms: `better` and `worse` where a pair differs, both empty where nothing can be claimed. `p` is
    the smallest of the pairs', already multiplied by their number (Bonferroni)."""

    p: float
    better: str = ""
    worse: str = ""


def claim(arms: Mapping[str, Share]) -> Claim:
    """The clearest difference between two of the arms, if there is one that chance does not explain."""
    pairs = list(combinations(sorted(arms), 2))
    found = Claim(1.0)
    for one, other in pairs:
        p = min(1.0, difference(arms[one], arms[other]) * len(pairs))
        if p < found.p:
            first = (arms[one].rate or 0.0) >= (arms[other].rate or 0.0)
            found = Claim(p, one if first else other, other if first else one)
    return found if found.p < SIGNIFICANT else Claim(found.p)
