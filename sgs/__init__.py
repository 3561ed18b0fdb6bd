"""Sequentialized gradient sampling: train encoders on inputs too long to back-propagate at once."""

from sgs.batch_norm import freeze_batch_norm as freeze_batch_norm
from sgs.equivalence import equivalence_report as equivalence_report
from sgs.items import Shared as Shared
from sgs.module import SequentialGradientSampler as SequentialGradientSampler
from sgs.planning.estimated_step import Estimate as Estimate
from sgs.planning.estimation import estimate as estimate
from sgs.planning.plan import Plan as Plan
from sgs.planning.planner import plan as plan
from sgs.source import ArraySource as ArraySource, Source as Source, SourceBatch as SourceBatch
