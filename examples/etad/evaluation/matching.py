"""Which detections find an annotated instance: the greedy matching behind the ActivityNet mAP."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from aps.tiou import pairwise_tiou


def match_detections(
    segments_s: Float[Tensor, "detections 2"],
    groups: Int64[Tensor, " detections"],
    *,
    gt_segments_s: Float[Tensor, "instances 2"],
    gt_groups: Int64[Tensor, " instances"],
    tiou_thresholds: Float[Tensor, " thresholds"],
) -> Bool[Tensor, "thresholds detections"]:
    """Return, for every threshold, which detections are true positives.

    A group is one class in one video; only members of the same group can match. In every group the
    detections choose in the order given, best score first: each takes the instance of the highest
    tIoU among those still free (the first of equals) if that is at least the threshold.

    All groups and thresholds advance together, so there are as many steps as the largest group has
    detections; a step costs O(groups x instances of the largest group x thresholds).
    """
    hits = torch.zeros(len(tiou_thresholds), len(segments_s), dtype=torch.bool)
    if not len(gt_groups):
        return hits
    names = gt_groups.unique()
    gt_padded, free = _pad_instances(gt_segments_s, torch.searchsorted(names, gt_groups))
    free = free.repeat(len(tiou_thresholds), 1, 1)  # [thresholds groups slots]
    candidates = torch.isin(groups, names).nonzero()[:, 0]
    group = torch.searchsorted(names, groups[candidates])
    turn = _rank_within_group(group)
    order = turn.argsort(stable=True)
    for step in order.split(turn.bincount().tolist()):
        step_group, rows = group[step], candidates[step]
        tiou = torch.vmap(pairwise_tiou)(segments_s[rows, None], gt_padded[step_group])[:, 0]
        best, slot = tiou.where(free[:, step_group], -1.0).max(dim=2)
        hit = best >= tiou_thresholds[:, None]
        hits[:, rows] = hit
        threshold, taken = hit.nonzero(as_tuple=True)
        free[threshold, step_group[taken], slot[threshold, taken]] = False
    return hits


def _pad_instances(
    segments_s: Float[Tensor, "instances 2"], group: Int64[Tensor, " instances"]
) -> tuple[Float[Tensor, "groups slots 2"], Bool[Tensor, "groups slots"]]:
    """Lay the instances out by group; the second result is False where a slot is padding."""
    slot = _rank_within_group(group)
    shape = (int(group.max()) + 1, int(slot.max()) + 1)
    padded = segments_s.new_zeros(*shape, 2)
    padded[group, slot] = segments_s
    occupied = torch.zeros(shape, dtype=torch.bool)
    occupied[group, slot] = True
    return padded, occupied


def _rank_within_group(group: Int64[Tensor, " items"]) -> Int64[Tensor, " items"]:
    """Return how many earlier items belong to the same group."""
    order = group.argsort(stable=True)
    first = group[order].diff(prepend=group.new_tensor([-1])) != 0
    position = torch.arange(len(group))
    rank = torch.empty_like(group)
    rank[order] = position - position.where(first, 0).cummax(dim=0).values
    return rank
