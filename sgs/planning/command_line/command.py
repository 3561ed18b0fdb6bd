"""`python -m sgs`: will an encoder fit into memory, with which settings, at which cost?"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sgs.planning.byte_size import bytes_of
from sgs.planning.command_line.answer import answer
from sgs.planning.command_line.named_module import named_module
from sgs.planning.command_line.picture import check_picture, draw
from sgs.planning.command_line.question import OPTIMIZERS, Question

ITEM_DTYPES = ("float32", "float16", "bfloat16", "float64", "uint8", "int64")
AUTOCAST_DTYPES = ("bfloat16", "float16")
FITS, DOES_NOT_FIT = 0, 1
DESCRIPTION = "Will an encoder fit into memory, with which settings, and what will it cost?"
EPILOG = """\
ENCODER and MODULE are `module:callable` or `path/to/file.py:callable`. What is called takes no
arguments and returns an nn.Module, in the mode and with the parameters frozen as you train it. It
is called on the meta device, where it takes no memory; no GPU is needed. The exit status is 0 if
the step fits and 1 if it does not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer what a command line asks, and return the exit status.

    Args:
        arguments: The command line; that of the process if None.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        if given.picture is not None:
            check_picture(given.picture)
        found = answer(_question(given), tflops=given.tflops)
        sys.stdout.write(f"{found}\n")
        if given.picture is not None:
            draw(found, given.picture)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return DOES_NOT_FIT if found.found is None else FITS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sgs",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("encoder", metavar="ENCODER", help="what makes the encoder")
    add("--item", type=_shape, required=True, metavar="SHAPE", help="of one item: 3x16x224x224")
    add("--num-items", type=_count, required=True, metavar="N", help="items, of each video")
    add("--budget", type=_bytes, required=True, metavar="SIZE", help="memory there is: 8GiB")
    add("--videos", type=_count, metavar="B", help="videos of a step, for items [B, N, ...]")
    add("--dtype", choices=ITEM_DTYPES, default="float32", help="of items (default: %(default)s)")
    add("--ratio", type=_ratio, default=1.0, help="of items with a gradient, in SGS (default: 1)")
    add("--optimizer", choices=OPTIMIZERS, default="AdamW", help="SGD is with momentum")
    add("--autocast", choices=AUTOCAST_DTYPES, help="the precision of torch.autocast")
    add("--items-on-device", action="store_true", help="all at once; else from host memory")
    add("--frozen-stem", metavar="MODULE", help="what makes the option frozen_stem")
    add("--stem-cache-on-host", action="store_true", help="keep the outputs of the stem there")
    add("--tflops", type=_speed, help="10^12 operations per second that the device sustains")
    add("--picture", type=Path, metavar="FILE", help="memory against N: a .png, .pdf or .svg")
    return parser


def _question(given: argparse.Namespace) -> Question:
    stem = given.frozen_stem
    return Question(
        encoder=named_module(given.encoder),
        frozen_stem=None if stem is None else named_module(stem),
        item_shape=given.item,
        dtype=getattr(torch, given.dtype),
        num_items=given.num_items,
        videos=given.videos,
        budget=given.budget,
        ratio=given.ratio,
        optimizer=given.optimizer,
        autocast=None if given.autocast is None else getattr(torch, given.autocast),
        items_on_device=given.items_on_device,
        stem_cache_on_host=given.stem_cache_on_host,
    )


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected the shape of one item, as in 3x16x224x224."
        )
    return tuple(map(int, text.split("x")))


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer of at least 1.")
    return int(text)


def _bytes(text: str) -> int:
    try:
        return bytes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _ratio(text: str) -> float:
    if not 0 < _number(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a value in (0, 1].")
    return float(text)


def _speed(text: str) -> float:
    if not 0 < _number(text) < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a positive number, 10^12 operations per second."
        )
    return float(text)


def _number(text: str) -> float:
    """Return a number; what is none is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan
