"""The kinds of encoders that users wrap: one line in one of these tables adds one to every test."""

from tests.sgs.kinds.checkpointed import CHECKPOINTED
from tests.sgs.kinds.hooked import HOOKED
from tests.sgs.kinds.operations import OPERATIONS
from tests.sgs.kinds.plain import PLAIN
from tests.sgs.kinds.recurrent import RECURRENT
from tests.sgs.kinds.remembering import REMEMBERING
from tests.sgs.kinds.reparametrised import REPARAMETRISED
from tests.sgs.kinds.sharing import SHARING
from tests.sgs.kinds.stateful import STATEFUL
from tests.sgs.kinds.stochastic import STOCHASTIC

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
