"""Sequentialized gradient sampling: train encoders on inputs too long to back-propagate at once."""

from sgs.batch_norm import freeze_batch_norm as freeze_batch_norm
from sgs.encoded_items import EncodedItems as EncodedItems
from sgs.equivalence.comparison import EquivalenceReport as EquivalenceReport
from sgs.equivalence.equivalence_report import equivalence_report as equivalence_report
from sgs.frozen_batch_norm import FrozenBatchNorm as FrozenBatchNorm
from sgs.items.frozen_stem import FrozenStem as FrozenStem
from sgs.items.shared import Shared as Shared
from sgs.items.source import (
    ArraySource as ArraySource,
    Source as Source,
    SourceBatch as SourceBatch,
)
from sgs.planning.byte_size import readable_bytes as readable_bytes
from sgs.planning.estimate.estimate import estimate as estimate
from sgs.planning.estimate.result import Estimate as Estimate
from sgs.planning.settings.memory_budget import MemoryBudget as MemoryBudget
from sgs.planning.settings.plan import plan as plan
from sgs.planning.settings.result import Plan as Plan
from sgs.sampler import SequentialGradientSampler as SequentialGradientSampler
