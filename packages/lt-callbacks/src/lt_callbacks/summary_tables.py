"""A summary of a module as text."""

from collections.abc import Sequence
from typing import Final

from lt_callbacks.model_summary import NOT_AVAILABLE, LayerSummary, ModuleSummary

_UNITS: Final = (" ", "K", "M", "B", "T")


def readable_number(number: int) -> str:
    """Return a number in units of thousands, millions, billions or trillions.

    >>> readable_number(123), readable_number(1234), readable_number(5_600_000), readable_number(150_000)
    ('123  ', '1.2 K', '5.6 M', '150 K')
    """
    value, unit = float(number), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = f"{value:,.1f}" if unit and value < 100 else f"{int(value):,d}"
    return f"{digits} {_UNITS[unit]}"


def header(summary: ModuleSummary) -> list[str]:
    """Return the names of the columns."""
    sizes = ["In sizes", "Out sizes"] if summary.has_sizes else []
    return ["", "Name", "Type", "Params", "Mode", "FLOPs", *sizes]


def rows(summary: ModuleSummary) -> list[list[str]]:
    """Return one row of texts per layer, and one for parameters that no layer has."""
    found = [_row(index, layer, summary) for index, layer in enumerate(summary.layers)]
    if summary.num_other_parameters and summary.layers:
        other = readable_number(summary.num_other_parameters)
        rest = [NOT_AVAILABLE] * (len(header(summary)) - 4)
        found.append(["", "other params", NOT_AVAILABLE, other, *rest])
    return found


def footer(summary: ModuleSummary) -> list[tuple[str, str]]:
    """Return the totals with what they are."""
    fixed = summary.num_parameters - summary.num_trainable_parameters
    return [
        ("Trainable params", readable_number(summary.num_trainable_parameters)),
        ("Non-trainable params", readable_number(fixed)),
        ("Total params", readable_number(summary.num_parameters)),
        ("Total estimated model params size (MB)", f"{summary.size_megabytes:,.3f}"),
        ("Modules in train mode", str(summary.num_modules_in_train_mode)),
        ("Modules in eval mode", str(summary.num_modules_in_eval_mode)),
        ("Total FLOPs", readable_number(summary.total_flops)),
    ]


def plain_table(summary: ModuleSummary) -> str:
    """Return the whole summary as a table of plain characters."""
    lines = [header(summary), *rows(summary)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    top, *body = [_line(line, widths) for line in lines]
    rule = "-" * len(top)
    totals = [f"{value:<10}{name}" for name, value in footer(summary)]
    return "\n".join([top, rule, *body, rule, *totals])


def _row(index: int, layer: LayerSummary, summary: ModuleSummary) -> list[str]:
    sizes = [str(layer.in_size), str(layer.out_size)] if summary.has_sizes else []
    counts = [readable_number(layer.num_parameters), layer.mode, readable_number(layer.flops)]
    return [str(index), layer.name, layer.type, *counts, *sizes]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
