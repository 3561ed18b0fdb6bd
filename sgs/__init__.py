"""Sequentialized gradient sampling: train encoders on inputs too long to back-propagate at once."""

from sgs.batch_norm import freeze_batch_norm as freeze_batch_norm
from sgs.equivalence.equivalence_report import equivalence_report as equivalence_report
from sgs.items.arguments import Shared as Shared
from sgs.items.source import (
    ArraySource as ArraySource,
    Source as Source,
    SourceBatch as SourceBatch,
)
from sgs.planning.estimate.estimated_step import Estimate as Estimate
from sgs.planning.estimate.estimation import estimate as estimate
from sgs.planning.settings.plan import Plan as Plan
from sgs.planning.settings.planner import plan as plan
from sgs.sampler import SequentialGradientSampler as SequentialGradientSampler
