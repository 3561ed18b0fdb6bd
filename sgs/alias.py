"""Stand-ins for an encoder's parameters, to gather gradients outside of the user's graph."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def aliased_parameters(
    encoder: nn.Module, trainable: Collection[Tensor]
) -> Iterator[dict[int, nn.Parameter]]:
    """Replace every parameter by a detached alias of the same memory while the block runs.

    NOTE [ Why aliases ]
    The re-forward runs inside the backward of the user's loss. A nested `.backward()` onto the
    real parameters would fire their hooks once per micro-batch, among them those of
    DistributedDataParallel, which then reduces too early, without an error. `autograd.grad` with
    respect to the parameters cannot pass through reentrant checkpoints. Gradients gathered on
    aliases and returned from the outer backward go through the real parameters' hooks once.
    The aliases must stay in place during the micro-batch's backward: checkpoints inside the
    encoder recompute there.

    Args:
        encoder: The module whose parameters are replaced, by identity, so tied weights stay tied.
        trainable: The parameters whose aliases require gradients. The others' aliases do not,
            whatever the parameters say by now: the graph of the first pass decides.

    Yields:
        The alias of each trainable parameter, by the parameter's id.
    """
    wanted = {id(parameter) for parameter in trainable}
    places = [
        (module, name, parameter)
        for module in encoder.modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
    aliases = {id(p): nn.Parameter(p.detach(), requires_grad=id(p) in wanted) for _, _, p in places}
    try:
        # setattr, not the dict of parameters: recurrent layers keep a second list in step with it.
        for module, name, parameter in places:
            setattr(module, name, aliases[id(parameter)])
        yield {key: alias for key, alias in aliases.items() if key in wanted}
    finally:
        for module, name, parameter in places:
            setattr(module, name, parameter)
