"""`python -m sgs`: does an encoder fit into memory, with which settings, and at what cost?"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sgs.planning.byte_size import bytes_of
from sgs.planning.command_line.named_module import named_module
from sgs.planning.command_line.picture import check_picture, draw
from sgs.planning.command_line.report import report_on
from sgs.planning.command_line.training_step import OPTIMIZERS, TrainingStep

ITEM_DTYPES = ("float32", "float16", "bfloat16", "float64", "uint8", "int64")
AUTOCAST_DTYPES = ("bfloat16", "float16")
FITS, DOES_NOT_FIT = 0, 1
DESCRIPTION = "Does an encoder fit into memory, with which settings, and at what cost?"
EPILOG = """\
ENCODER and MODULE are `module:callable` or `path/to/file.py:callable`. The callable takes no
arguments and returns an nn.Module, in the mode that you train it in, and with the parameters frozen
that do not train. It is called on the meta device, where it takes no memory; no GPU is needed. The
exit status is 0 if the step fits and 1 if it does not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report on a training step, and return the exit status.

    Args:
        arguments: The command line; that of the process if None.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.picture is not None:
            check_picture(options.picture)
        report = report_on(_training_step(options), tflops=options.tflops)
        sys.stdout.write(f"{report}\n")
        if options.picture is not None:
            draw(report, options.picture)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return DOES_NOT_FIT if report.plan is None else FITS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sgs",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("encoder", metavar="ENCODER", help="builds the encoder")
    add("--item", type=_shape, required=True, metavar="SHAPE", help="of one item: 3x16x224x224")
    add("--num-items", type=_count, required=True, metavar="N", help="items per video")
    add("--budget", type=_bytes, required=True, metavar="SIZE", help="device memory: 8GiB")
    add("--videos", type=_count, metavar="B", help="videos per step, for items [B, N, ...]")
    add("--dtype", choices=ITEM_DTYPES, default="float32", help="of items (default: %(default)s)")
    add("--ratio", type=_ratio, default=1.0, help="of items with a gradient, in SGS (default: 1)")
    add("--optimizer", choices=OPTIMIZERS, default="AdamW", help="SGD has momentum")
    add("--autocast", choices=AUTOCAST_DTYPES, help="precision of torch.autocast")
    add("--items-on-device", action="store_true", help="all of them; else in host memory")
    add("--frozen-stem", metavar="MODULE", help="builds the option frozen_stem")
    add("--stem-cache-on-host", action="store_true", help="keep its outputs in host memory")
    add("--tflops", type=_speed, help="speed of the device, in 10^12 operations per second")
    add("--picture", type=Path, metavar="FILE", help="draw memory against N: .png, .pdf or .svg")
    return parser


def _training_step(options: argparse.Namespace) -> TrainingStep:
    stem = options.frozen_stem
    return TrainingStep(
        encoder=named_module(options.encoder),
        frozen_stem=None if stem is None else named_module(stem),
        item_shape=options.item,
        dtype=getattr(torch, options.dtype),
        num_items=options.num_items,
        videos=options.videos,
        budget=options.budget,
        ratio=options.ratio,
        optimizer=options.optimizer,
        autocast=None if options.autocast is None else getattr(torch, options.autocast),
        items_on_device=options.items_on_device,
        stem_cache_on_host=options.stem_cache_on_host,
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
    """Return a number, or NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan
