"""Action proposal sampling: train a detector on a small part of the dense proposal map."""

from aps.proposals import dense_proposals as dense_proposals, proposal_map as proposal_map
from aps.sampler import ProposalSampler as ProposalSampler
from aps.tiou import pairwise_tiou as pairwise_tiou
