import pytest

from lt_compat.names import Owner
from lt_compat.reading.resolution import Standing, resolve


@pytest.mark.parametrize("root", ["lightning.pytorch", "pytorch_lightning"])
def test_a_name_is_found_below_each_root_with_what_stands_behind_it(root: str) -> None:
    found = resolve(f"{root}.callbacks.early_stopping.EarlyStopping.state_key")
    assert found.owner == Owner("lt_callbacks", "EarlyStopping")
    assert (found.path, found.attributes) == (f"{root}.callbacks.early_stopping.EarlyStopping", ("state_key",))
    assert found.key == "pytorch.callbacks.early_stopping"


@pytest.mark.parametrize(
    ("path", "standing"),
    [
        ("lightning", Standing.MODULE),
        ("lightning.fabric.strategies", Standing.MODULE),
        ("lightning.__version__", Standing.SPECIAL),
        ("lightning.pytorch.Nonsense", Standing.MISSING),
        ("lightning.pytorch.nonsense.Trainer", Standing.MISSING),
        ("lightning.pytorch.strategies.StrategyRegistry", Standing.MISSING),
        ("lightning.pytorch.loops.fit_loop._FitLoop", Standing.PRIVATE),
        ("pytorch_lightning._private", Standing.PRIVATE),
    ],
)
def test_what_is_no_name_of_lt_is_told_apart(path: str, standing: Standing) -> None:
    found = resolve(path)
    assert found.standing is standing
    assert found.owner is None
    assert found.is_absent is bool(found.why)


def test_the_answer_for_a_missing_name_says_what_to_use() -> None:
    assert "lt.strategies" in resolve("lightning.pytorch.strategies.StrategyRegistry").why
    assert "Did you mean `Trainer`" in resolve("lightning.pytorch.Trianer").why
