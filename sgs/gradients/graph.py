"""What a graph of autograd depends on."""

from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor, nn


def refuse_other_leaves(outputs: Iterable[Any], *, known: Collection[Tensor | None]) -> None:
    """Refuse an encoder whose outputs depend on parameters that it was not seen to have.

    Their gradients would be accumulated once per micro-batch, past the user's graph: those of a
    module that is no submodule, e.g. in a plain list or a closure, or behind a tensor computed
    before the call that is not an argument of it.

    Args:
        outputs: The features of a micro-batch, with their graph.
        known: The leaves that the graph may end in.

    Raises:
        RuntimeError: If it ends in another parameter.
    """
    expected = {id(tensor) for tensor in known}
    tensors = [x for x in outputs if isinstance(x, Tensor)]
    pending = [x.grad_fn for x in tensors if x.grad_fn is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        leaf = getattr(node, "variable", None)  # only the nodes of leaves have one
        # Leaves that are no parameters may have been made inside of the forward pass.
        if isinstance(leaf, nn.Parameter) and id(leaf) not in expected:
            raise RuntimeError(
                f"the encoder's output depends on a parameter of shape {list(leaf.shape)} that is "
                "not one of the encoder's. Register it, or the module that owns it, as an attribute"
                " of the encoder; or pass what is computed from it as an argument, wrapped in "
                "Shared(...)."
            )
        fresh = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= fresh
        pending += fresh
