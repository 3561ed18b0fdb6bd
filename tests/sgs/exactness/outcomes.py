"""What becomes of each kind of encoder in each setting; docs/exactness.md is made from it.

What is not listed here is exact.
"""

from dataclasses import dataclass

from tests.sgs.families import FAMILIES
from tests.sgs.kinds import KINDS
from tests.sgs.zoo import ZOO

ALL_KINDS = {**KINDS, **FAMILIES}
IN_ONE_PROCESS = {**ALL_KINDS, **ZOO}
DISTRIBUTED = ("DDP", "DDP of the encoder", "FSDP2")


@dataclass(frozen=True)
class Exact:
    """The sampler's gradients are those of the naive graph.

    Args:
        in_one_call: Whether the reference is one call of all items, rather than the sampler's
            micro-batches: for what changes itself once per call.
        rtol: A larger tolerance than that of the setting.
        floor: Errors count relative to at least this part of the largest gradient of all.
        because: Why it needs one.
    """

    in_one_call: bool = False
    rtol: float | None = None
    floor: float = 1e-4
    because: str = ""


@dataclass(frozen=True)
class Refused:
    """The sampler raises, and the naive graph does not.

    Args:
        message: A part of what the sampler says.
        because: Why.
        in_one_call: Whether the naive graph is one call of all items; its own micro-batches fail.
    """

    message: str
    because: str = ""
    in_one_call: bool = False


@dataclass(frozen=True)
class Crashed:
    """Training with the sampler ends in an error that does not say what to do.

    Args:
        message: A part of it.
        because: Why.
    """

    message: str
    because: str


@dataclass(frozen=True)
class Undefined:
    """There is nothing to be equal to.

    Args:
        because: What is wrong without the sampler.
        message: A part of what the naive graph raises. None if it computes other gradients than
            outside of the setting, without an error.
        hangs: Whether it never ends.
    """

    because: str
    message: str | None = None
    hangs: bool = False


Outcome = Exact | Refused | Crashed | Undefined

SELF_CHANGING = (
    "spectral_norm",
    "spectral_norm_by_hook",
    "counter",
    "counter_reassigned",
    "counter_attribute",
    "counter_hidden",
    "carried_state",
)
CACHES = (
    "cached_weight",
    "cached_in_dict",
    "cached_in_nested_dict",
    "cached_in_list",
    "cached_in_tensor",
)
HELD_GENERATORS = (
    "held_numpy_generator",
    "held_python_random",
    "held_generator_in_list",
    "owned_generator_in_object",
)
OTHER_FEATURES = "the second pass computed other features"
CHANGED = "the encoder changed"
INTERACT = "items interact"
HIDDEN = "draws from a generator that cannot be found, so it cannot be put back"
FOLLOWS_ITEMS = "its buffers follow the items, which so interact"
CHANGES_WEIGHTS = "changes its own parameters in the forward pass"

ANYWHERE: dict[str, Outcome] = {
    **{name: Exact(in_one_call=True) for name in SELF_CHANGING},
    "owned_numpy_generator": Refused(OTHER_FEATURES, HIDDEN),
    "owned_python_random": Refused(OTHER_FEATURES, HIDDEN),
    "average_outside": Refused(INTERACT, "carries values of the items from call to call"),
    "standardised_by_first_items": Refused(
        INTERACT, "its statistics follow the items, which so interact"
    ),
    "own_batch_norm": Refused(INTERACT, FOLLOWS_ITEMS),
    "decayed_weight": Refused(OTHER_FEATURES, CHANGES_WEIGHTS),
    "codebook": Refused(INTERACT, FOLLOWS_ITEMS),
    "fake_quantised_by_range": Refused(INTERACT, FOLLOWS_ITEMS),
    "moving_mean": Refused(INTERACT, FOLLOWS_ITEMS),
    "embedding_max_norm": Refused(CHANGED, CHANGES_WEIGHTS),
    "parameter_in_plain_list": Refused(
        "a parameter of shape .* that is not one of the encoder's",
        "its parameter is in no module's tree",
    ),
    "parameter_hook_unused": Crashed(
        "'NoneType' object has no attribute",
        "the hook of a parameter without a gradient is called, with None",
    ),
}

ROUNDED_APART = "one call of all items rounds its bfloat16 gradients otherwise"
DRAWS_AGAIN = "checkpoints replay torch's random numbers only, so it recomputes other features"
SAVED = "the graph holds a buffer that the next micro-batch changes in place"
VIEWS = "its compiled code takes a view that its memory does not allow"
OTHER_KERNEL = "attention takes another kernel without gradients"
COUNTS_AGAIN = "it recomputes from the state that its first computation has left"
UNCACHED = "with checkpoints, transformers ignores the prefix, which is a cache of keys"
LEAVES_OUT_AGAIN = tuple(name for name in ZOO if name.startswith("x_transformers"))
REENTERS = "returns an input, which torch's reentrant checkpoint follows without end"

EXCEPTIONS: dict[str, dict[str, Outcome]] = {
    "kept graph": {
        "counter": Refused("changes in place a tensor that its backward", SAVED, in_one_call=True),
        "counter_hidden": Refused("changes in place a tensor that its backward", SAVED),
    },
    "bf16 autocast": {
        **{name: Exact(True, 5e-3, because=ROUNDED_APART) for name in SELF_CHANGING},
        **{n: Exact(rtol=5e-3, because="the weight is rounded once for all items") for n in CACHES},
        "codebook": Undefined("lerp of bfloat16 and float32", "expected dtype float for `end`"),
        "big_bird": Undefined("scatter of bfloat16 into float32", "Expected self.dtype"),
        "beit": Exact(rtol=1e-2, because=OTHER_KERNEL),
        "swin": Exact(rtol=0.1, floor=1e-2, because=OTHER_KERNEL),
        "timm_maxvit": Exact(rtol=0.1, floor=1e-2, because=OTHER_KERNEL),
        "vit_pytorch_normalised": Undefined(
            "lerp of bfloat16 and float32", "expected dtype float for `end`"
        ),
    },
    "compile": {
        "clamped_weight": Refused(CHANGED, CHANGES_WEIGHTS),
        "decayed_weight": Refused(CHANGED, CHANGES_WEIGHTS),
        "whisper": Undefined(VIEWS, "view size is not compatible"),
        "qwen3_next": Undefined(VIEWS, "view size is not compatible"),
        "monai_vit": Undefined(VIEWS, "view size is not compatible"),
        "gradient_output": Undefined(
            "compiled code cannot be differentiated twice", "does not currently support double"
        ),
    },
    "inner checkpoint": {
        "lstm_weight_norm": Crashed(
            "Recomputed values for the following tensors have different metadata",
            "recurrent layers compute reparametrised weights another number of times after their "
            "parameters were exchanged",
        ),
        "layer_drop_by_python": Undefined(DRAWS_AGAIN),
        "jitter_by_numpy": Undefined(DRAWS_AGAIN),
        "owned_generator": Undefined(DRAWS_AGAIN),
        **{name: Undefined(DRAWS_AGAIN) for name in HELD_GENERATORS},
        "owned_python_random": Undefined(DRAWS_AGAIN, "A different number of tensors was saved"),
        "carried_state": Undefined(COUNTS_AGAIN),
        **{n: Undefined(COUNTS_AGAIN, "A different number of tensors was saved") for n in CACHES},
        **{n: Undefined(DRAWS_AGAIN, "torch.utils.checkpoint: ") for n in LEAVES_OUT_AGAIN},
        "peft_prefix_tuning": Undefined(UNCACHED, "The size of tensor a"),
    },
    "inner checkpoint, reentrant": {
        "layer_drop_by_python": Undefined(DRAWS_AGAIN),
        "jitter_by_numpy": Undefined(DRAWS_AGAIN),
        "owned_generator": Undefined(DRAWS_AGAIN),
        **{name: Undefined(DRAWS_AGAIN) for name in HELD_GENERATORS},
        "carried_state": Undefined(COUNTS_AGAIN),
        **{n: Undefined(COUNTS_AGAIN, "none of output has requires_grad=True") for n in CACHES},
        "parameter_hook": Exact(in_one_call=True),
        "parameter_in_plain_list": Exact(),
        **{n: Undefined(DRAWS_AGAIN) for n in LEAVES_OUT_AGAIN},
        "peft_prefix_tuning": Undefined(UNCACHED, "The size of tensor a"),
        "items_in_output": Undefined(REENTERS, hangs=True),
        "wavlm": Undefined(REENTERS, hangs=True),
    },
    "DDP": {"parameter_hook_unused": Exact()},
    "DDP of the encoder": {"parameter_hook_unused": Exact()},
    "FSDP2": {
        "parameter_hook_unused": Exact(),
        "clamped_weight": Undefined("scalars are not sharded", "doesn't support scalar parameters"),
        "embedding_sparse": Undefined("sparse gradients are not reduced", "SparseCPU"),
        "switch_transformers": Undefined(
            "its router stays in float32", "expects uniform gradient dtype"
        ),
    },
}


def outcome_in(setting: str, name: str) -> Outcome:
    """Return what is expected of a kind in a setting."""
    return EXCEPTIONS.get(setting, {}).get(name, ANYWHERE.get(name, Exact()))
