"""Elementary symmetric polynomials in log space, and random subsets weighted by their product.

e_l(w) is the sum, over all subsets of l weights, of their product. For the paper's 495 of 8,256
proposals it exceeds the largest float64, hence the logarithms.
"""

import torch
from jaxtyping import Float64
from torch import Tensor


def log_polynomials(
    log_weights: Float64[Tensor, " weights"], max_degree: int
) -> Float64[Tensor, "weights_plus_1 degrees"]:
    """Return log e_l of the first n weights, in row n and column l.

    Each step adds positive terms only, so there is no cancellation.
    """
    row = log_weights.new_full((max_degree + 1,), -torch.inf)
    row[0] = 0
    rows = [row]
    for log_weight in log_weights:
        row = row.clone()
        row[1:] = torch.logaddexp(row[1:], log_weight + rows[-1][:-1])
        rows.append(row)
    return torch.stack(rows)


def draw_subset(
    log_weights: Float64[Tensor, " weights"],
    table: Float64[Tensor, "weights_plus_1 degrees"],
    *,
    size: int,
    generator: torch.Generator,
) -> list[int]:
    """Draw a subset of `size` weights with probability proportional to its product."""
    uniform = torch.rand(
        len(log_weights), generator=generator, dtype=torch.float64, device=generator.device
    )
    log_uniform = uniform.log().tolist()
    log_weight, log_e = log_weights.tolist(), table.tolist()
    subset: list[int] = []
    for n in reversed(range(len(log_weight))):
        left = size - len(subset)
        if left == 0:
            break
        if log_uniform[n] < log_weight[n] + log_e[n][left - 1] - log_e[n + 1][left]:
            subset.append(n)
    return subset


def membership(
    log_weights: Float64[Tensor, " weights"],
    table: Float64[Tensor, "weights_plus_1 degrees"],
    *,
    size_weights: Float64[Tensor, " degrees"],
) -> Float64[Tensor, " weights"]:
    """Return the probability that `draw_subset` draws each weight, summed over sizes.

    The sum over sizes is weighted by `size_weights`, which need not add up to 1. One sweep follows
    `draw_subset` down the table and updates the distribution of the number still to be drawn.
    """
    state = size_weights
    probability = torch.empty_like(log_weights)
    for n in reversed(range(len(log_weights))):
        # Degrees above n + 1 have e = 0 and carry no state: 0 / 0 there means 0.
        taken = (log_weights[n] + table[n, :-1] - table[n + 1, 1:]).exp().nan_to_num()
        moved = state[1:] * taken
        probability[n] = moved.sum()
        state = torch.cat([state[:1], state[1:] - moved])
        state[:-1] += moved
    return probability
