"""The table of results that validate and test print."""

from collections.abc import Sequence


def results_table(stage: str, outputs: Sequence[dict[str, float]]) -> str:
    """Return the epoch metrics of every loader as a text table.

    Args:
        stage: "validate" or "test".
        outputs: the metrics of each loader.

    >>> print(results_table("test", [{"loss": 0.25}]))
    ┌─────────────┬──────────────┐
    │ Test metric │ DataLoader 0 │
    ├─────────────┼──────────────┤
    │ loss        │         0.25 │
    └─────────────┴──────────────┘
    """
    columns = [{_without_suffix(name): value for name, value in output.items()} for output in outputs]
    names = sorted({name for column in columns for name in column})
    header = [f"{stage.capitalize()} metric", *(f"DataLoader {idx}" for idx in range(len(columns)))]
    rows = [[name, *(_number(column.get(name)) for column in columns)] for name in names]
    widths = [max(len(row[idx]) for row in (header, *rows)) for idx in range(len(header))]
    lines = [_rule("┌┬┐", widths), _row(header, widths), _rule("├┼┤", widths)]
    lines += [_row(row, widths) for row in rows]
    return "\n".join([*lines, _rule("└┴┘", widths)])


def _without_suffix(name: str) -> str:
    return name.split("/dataloader_idx_")[0]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if idx == 0 else cell.rjust(width)
        for idx, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "│ " + " │ ".join([first, *rest]) + " │"


def _rule(corners: str, widths: Sequence[int]) -> str:
    return corners[0] + corners[1].join("─" * (width + 2) for width in widths) + corners[2]
