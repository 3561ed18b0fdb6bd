"""`Estimate`: the result of `estimate`."""

from __future__ import annotations

from dataclasses import dataclass

from sgs.planning.byte_size import bytes_of, readable_bytes


@dataclass(frozen=True)
class Estimate:
    """The memory and operations of one training step.

    Attributes:
        method: "sgs", "naive" or "checkpointed".
        num_items: The number of items, of all videos.
        bytes_by_category: The bytes alive at the peak of their sum: "parameters" (with buffers),
            "gradients", "optimizer_state", "items", "features" (with their gradients and copies),
            "activations" of the encoder, and "head" (with the loss).
        flops: Operations of "forward" (stage 1), "head" and "backward" (stage 3, with its forward).
    """

    method: str
    num_items: int
    bytes_by_category: dict[str, int]
    flops: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """The most bytes that are alive at once."""
        return sum(self.bytes_by_category.values())

    @property
    def total_flops(self) -> int:
        """The operations of the whole step."""
        return sum(self.flops.values())

    def __str__(self) -> str:
        """Return a table."""
        rows = [
            (name, readable_bytes(size)) for name, size in self.bytes_by_category.items() if size
        ]
        rows.append(("peak memory", readable_bytes(self.peak_bytes)))
        rows += [(f"{name} TFLOP", f"{n / 1e12:.4g}") for name, n in self.flops.items()]
        title = f"{self.method}, {self.num_items} items (estimated)"
        return "\n".join([title, *(f"  {name:<16} {value:>12}" for name, value in rows)])

    def fits(self, memory: int | str, *, margin: float = 0.1) -> bool:
        """Tell whether the step is likely to fit into a device.

        Args:
            memory: The memory of the device, in bytes or as in "8GiB".
            margin: The fraction of it reserved for what an estimate does not count, in [0, 1).

        Raises:
            ValueError: If `memory` is no amount of memory, or `margin` is outside [0, 1).
        """
        if not 0 <= margin < 1:
            raise ValueError(
                f"Estimate.fits(margin={margin!r}): expected a value in [0, 1), the fraction of the"
                " memory reserved for what an estimate does not count."
            )
        return self.peak_bytes <= (1 - margin) * bytes_of(memory)
