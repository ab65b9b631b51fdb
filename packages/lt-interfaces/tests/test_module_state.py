import pytest
import torch
from torch import nn

from lt_interfaces.module_state import listed, load_state_dict_clearly


class Net(nn.Module):
    def __init__(self, width: int = 2, extra: int = 0) -> None:
        super().__init__()
        self.body = nn.Linear(width, 1)
        self.extra = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(extra)])


def refusal(module: nn.Module, state: dict[str, torch.Tensor], *, strict: bool = True) -> str:
    with pytest.raises(RuntimeError) as error:
        load_state_dict_clearly(module, state, strict=strict)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    return str(error.value)


def test_weights_that_fit_are_loaded() -> None:
    source, target = Net(), Net()
    keys = load_state_dict_clearly(target, source.state_dict())
    assert torch.equal(source.body.weight, target.body.weight)
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])


def test_missing_keys_are_listed_ten_at_most_with_a_count() -> None:
    message = refusal(Net(extra=25), Net().state_dict())
    assert "25 keys missing from the checkpoint: `extra.0`" in message
    assert message.count("extra.") == 10
    assert "and 15 more" in message
    assert "strict_loading = False" in message


def test_unexpected_keys_are_listed_ten_at_most_with_a_count() -> None:
    message = refusal(Net(), Net(extra=11).state_dict())
    assert "11 keys that the module doesn't have: `extra.0`" in message
    assert message.count("extra.") == 10
    assert "and 1 more" in message


def test_other_shapes_are_listed_with_both_shapes() -> None:
    message = refusal(Net(width=2, extra=1), Net(width=3).state_dict())
    assert "1 key missing from the checkpoint: `extra.0`; 1 key of another shape: `body.weight` (1, 3)" in message
    assert "instead of (1, 2)" in message


def test_without_strict_only_shapes_matter() -> None:
    keys = load_state_dict_clearly(Net(extra=1), Net().state_dict(), strict=False)
    assert keys.missing_keys == ["extra.0"]
    message = refusal(Net(extra=1), Net(width=3).state_dict(), strict=False)
    assert "extra" not in message
    assert "strict" not in message


def test_what_else_goes_wrong_comes_through() -> None:
    class Refusing(Net):
        def load_state_dict(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
            raise RuntimeError("something else")  # noqa: EM101 (as a user's module raises)

    with pytest.raises(RuntimeError, match=r"^something else$"):
        load_state_dict_clearly(Refusing(), Net().state_dict())
    with pytest.raises(RuntimeError, match="received <class 'int'>"):
        load_state_dict_clearly(Net(), Net().state_dict() | {"body.bias": 3})


def test_lazy_parameters_have_no_shape_yet() -> None:
    message = refusal(nn.LazyLinear(2), {"weight": torch.zeros(2, 3)})
    assert "1 key missing from the checkpoint: `bias`" in message


def test_scalars_saved_with_one_dimension_fit() -> None:
    class Scaled(Net):
        def __init__(self) -> None:
            super().__init__(extra=1)
            self.scale = nn.Parameter(torch.tensor(1.0))

    message = refusal(Scaled(), Net().state_dict() | {"scale": torch.ones(1)})
    assert "another shape" not in message


def test_few_names_are_listed_whole() -> None:
    assert listed(["a", "b"]) == "`a`, `b`"
