from pathlib import Path

import pytest
from tiny_runs import Net, rows, trainer_with

from lt_core.evaluation_table import results_table


def test_metrics_are_sorted_and_lose_the_loaders_ending() -> None:
    table = results_table(
        "validate",
        [{"b/dataloader_idx_0": 1.0, "a": 0.5}, {"b/dataloader_idx_1": 22.5, "long_name/dataloader_idx_1": 3.0}],
    )
    assert table.splitlines() == [
        "┌─────────────────┬──────────────┬──────────────┐",
        "│ Validate metric │ DataLoader 0 │ DataLoader 1 │",
        "├─────────────────┼──────────────┼──────────────┤",
        "│ a               │          0.5 │              │",
        "│ b               │            1 │         22.5 │",
        "│ long_name       │              │            3 │",
        "└─────────────────┴──────────────┴──────────────┘",
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(1e-9, "1e-09"), (123456789.0, "1.23457e+08"), (float("nan"), "nan"), (-0.25, "-0.25")]
)
def test_numbers_of_every_size_are_readable(value: float, shown: str) -> None:
    assert f" {shown} │" in results_table("test", [{"x": value}])


def test_long_names_widen_the_table() -> None:
    lines = results_table("test", [{"a" * 40: 1.0}]).splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("fn", "header"), [("validate", "Validate metric"), ("test", "Test metric")])
def test_evaluating_prints_the_table_once_unless_told_not_to(
    fn: str, header: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainer_with(tmp_path)
    evaluate = getattr(trainer, fn)
    evaluate(Net(), rows(1), verbose=False)
    assert header not in capsys.readouterr().out
    evaluate(Net(), rows(1))
    assert capsys.readouterr().out.count(header) == 1
