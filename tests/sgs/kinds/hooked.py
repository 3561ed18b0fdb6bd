"""Encoders with hooks on modules, parameters or saved tensors."""

from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu

from tests.sgs.kinds.arguments import INPUT, VECTORS
from tests.sgs.kinds.kind import Kind


class SavedOnCpu(nn.Module):
    """Saved tensors packed and unpacked by hooks of the encoder's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, items: Tensor) -> Tensor:
        with save_on_cpu():
            return self.layers(items)


class ParameterHook(nn.Module):
    """The whole gradient of a matrix is clipped by its hook, which must see the sum of all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.linear.weight.register_hook(lambda gradient: gradient.clamp(-0.5, 0.5))

    def forward(self, items: Tensor) -> Tensor:
        return self.linear(items)


class HookOnUnusedParameter(ParameterHook):
    """The hook of a parameter that gets no gradient is never called."""

    def forward(self, items: Tensor) -> Tensor:
        return items * self.linear.bias.sum()


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))


def forward_hook() -> nn.Module:
    encoder = layers()
    encoder[0].register_forward_hook(lambda module, args, output: 2 * output)
    encoder.register_forward_hook(lambda module, args, output: output.sin())
    return encoder


def forward_pre_hook() -> nn.Module:
    encoder = layers()
    encoder[2].register_forward_pre_hook(lambda module, args: (args[0] * module.bias.sum(),))
    return encoder


def backward_hooks() -> nn.Module:
    encoder = layers()
    encoder[2].register_full_backward_hook(lambda module, inputs, outputs: (0.5 * inputs[0],))
    encoder[1].register_full_backward_pre_hook(lambda module, outputs: (3 * outputs[0],))
    return encoder


HOOKED = {
    "forward_hook": Kind(forward_hook, INPUT),
    "forward_pre_hook": Kind(forward_pre_hook, INPUT),
    "backward_hooks": Kind(backward_hooks, INPUT),
    "parameter_hook": Kind(ParameterHook, VECTORS),
    "parameter_hook_unused": Kind(HookOnUnusedParameter, VECTORS),
    "saved_on_cpu": Kind(SavedOnCpu, VECTORS),
}
