"""`Random` draws every subset with the same probability."""

from collections import Counter
from itertools import combinations

import pytest
import torch

from samplers import Candidates, Random
from tests.samplers import laws

SUBSETS = list(combinations(range(6), 3))
DRAWS = 10_000


def test_every_subset_is_equally_likely() -> None:
    generator = laws.seeded(0)
    candidates = Candidates(num_items=6)
    counts = Counter(
        tuple(Random().sample(candidates, 3, generator=generator).tolist()) for _ in range(DRAWS)
    )
    laws.check_frequencies([counts[subset] for subset in SUBSETS], [1.0] * len(SUBSETS))


def test_neighbours_chosen_together_fail_although_every_item_is_equally_likely() -> None:
    generator = laws.seeded(0)
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(DRAWS):
        first = torch.randint(6, (1,), generator=generator)
        counts[tuple(((first + torch.arange(3)) % 6).sort().values.tolist())] += 1
    with pytest.raises(AssertionError):
        laws.check_frequencies([counts[subset] for subset in SUBSETS], [1.0] * len(SUBSETS))


def test_probability_is_count_over_number_of_items() -> None:
    probability = Random().inclusion_probability(Candidates(num_items=8), 3)
    assert torch.equal(probability, torch.full((8,), 3 / 8, dtype=torch.float64))
