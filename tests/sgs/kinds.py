"""The kinds of encoders that users wrap: one line in one of these tables adds one to every test."""

from tests.sgs.kinds_checkpointed import CHECKPOINTED
from tests.sgs.kinds_hooked import HOOKED
from tests.sgs.kinds_operations import OPERATIONS
from tests.sgs.kinds_plain import PLAIN
from tests.sgs.kinds_recurrent import RECURRENT
from tests.sgs.kinds_remembering import REMEMBERING
from tests.sgs.kinds_reparametrised import REPARAMETRISED
from tests.sgs.kinds_sharing import SHARING
from tests.sgs.kinds_stateful import STATEFUL
from tests.sgs.kinds_stochastic import STOCHASTIC

KINDS = {
    **PLAIN,
    **RECURRENT,
    **SHARING,
    **REPARAMETRISED,
    **STOCHASTIC,
    **CHECKPOINTED,
    **STATEFUL,
    **REMEMBERING,
    **HOOKED,
    **OPERATIONS,
}
