"""The items that a strategy chooses from, with their features and labels."""

from dataclasses import dataclass, field
from numbers import Integral

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# The floating point tensors with one row per item, and their shapes.
_PER_ITEM = {
    "features": ("num_items", "channels"),
    "tiou": ("num_items",),
    "scale": ("num_items",),
    "kernel": ("num_items", "num_items"),
    "gradient_norm": ("num_items",),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """The items to choose from: snippets along time, or proposals on a map.

    `AbstractSampler.requires` lists the optional fields that a strategy needs.

    Args:
        num_items: Number of items, at least 1.
        valid: Which cells of the proposal map are items, in row-major order (row: duration,
            column: start); None for items along time. Counting its cells synchronises a GPU once.
        features: One feature vector per item.
        tiou: Best tIoU of each item with any ground truth, in [0, 1].
        kernel: Similarity of any two items, symmetric.
        gradient_norm: Norm of the gradient of the loss with respect to each item's feature.
        scale: Duration of each item over the duration of the video, in [0, 1].
        device: Device of the returned index; that of the tensors if None, or the CPU without any.

    Raises:
        TypeError: If `valid` is not a boolean tensor, or another field not a dense floating point
            tensor.
        ValueError: If `num_items` is not an integer of at least 1, a tensor does not describe
            `num_items` items, or the tensors are not all on `device`.

    Example:
        >>> Candidates(num_items=3, tiou=torch.tensor([0.1, 0.8, 0.4])).device
        device(type='cpu')
    """

    num_items: int
    valid: Bool[Tensor, "durations starts"] | None = None
    features: Float[Tensor, "items channels"] | None = None
    tiou: Float[Tensor, " items"] | None = None
    scale: Float[Tensor, " items"] | None = None
    kernel: Float[Tensor, "items items"] | None = None
    gradient_norm: Float[Tensor, " items"] | None = None
    # None only as an argument: after construction it is always a device.
    device: torch.device = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not isinstance(self.num_items, Integral) or self.num_items < 1:
            raise ValueError(
                f"Candidates(num_items={self.num_items!r}): expected an integer of at least 1, got "
                f"{self.num_items!r}. Leave out empty inputs before sampling."
            )
        object.__setattr__(self, "num_items", int(self.num_items))
        for name, sizes in _PER_ITEM.items():
            self._check_per_item(name, sizes)
        self._check_valid()
        object.__setattr__(self, "device", self._resolve_device())

    def _resolve_device(self) -> torch.device:
        tensors = {
            name: value
            for name in ("valid", *_PER_ITEM)
            if (value := getattr(self, name)) is not None
        }
        found = {name: tensor.device for name, tensor in tensors.items()}
        if self.device is not None:
            # Resolves "cuda" to a numbered device.
            found["device"] = torch.empty(0, device=self.device).device
        if len(set(found.values())) > 1:
            listing = ", ".join(f"{name} on {device}" for name, device in found.items())
            raise ValueError(
                f"Candidates(device={self.device!r}): expected everything on one device, got "
                f"{listing}. Move the tensors there, and leave `device` out to follow them."
            )
        return next(iter(found.values()), torch.device("cpu"))

    def _check_per_item(self, name: str, sizes: tuple[str, ...]) -> None:
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            return
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise TypeError(
                f"Candidates({name}=...): expected a dense tensor, got {_kind(tensor)}. Pass "
                f"torch.as_tensor({name}), and {name}.to_dense() if it is sparse."
            )
        if not tensor.is_floating_point():
            raise TypeError(
                f"Candidates({name}=...): expected a floating point tensor, got {tensor.dtype}. "
                f"Pass {name}.float()."
            )
        lengths = {"num_items": self.num_items}
        fits = tensor.ndim == len(sizes) and all(
            lengths.get(size, length) == length > 0
            for size, length in zip(sizes, tensor.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(lengths.get(size, size)) for size in sizes)
            raise ValueError(
                f"Candidates({name}=...): expected shape [{wanted}] for num_items="
                f"{self.num_items}, got {list(tensor.shape)}. Pass one row per item, none of them "
                "empty."
            )

    def _check_valid(self) -> None:
        if self.valid is None:
            return
        if not isinstance(self.valid, Tensor) or self.valid.dtype != torch.bool:
            raise TypeError(
                f"Candidates(valid=...): expected a bool tensor, got {_kind(self.valid)}. Pass "
                "torch.as_tensor(valid).bool(), True where the cell is a proposal."
            )
        if self.valid.ndim != 2:
            raise ValueError(
                "Candidates(valid=...): expected shape [durations, starts], got "
                f"{list(self.valid.shape)}. Leave `valid` out for items along time."
            )
        num_cells = int(self.valid.sum())
        if num_cells != self.num_items:
            raise ValueError(
                f"Candidates(valid=...): expected {self.num_items} True cells, one per item, got "
                f"{num_cells}. Pass num_items=int(valid.sum())."
            )


def _kind(value: object) -> str:
    """Return a short description of a value for a message."""
    return f"{value.dtype}, {value.layout}" if isinstance(value, Tensor) else type(value).__name__
