import copy
import pickle
import threading
from argparse import Namespace
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lt_interfaces.hyperparameters import AttributeDict, HyperparametersMixin, given_hyperparameters


class Collected(HyperparametersMixin):
    def __init__(self, a: int, b: int = 2, *args: int, c: int = 3, **kw: int) -> None:
        self.save_hyperparameters()


class Configured(HyperparametersMixin):
    def __init__(self, first: int, conf: Any = None, **options: Any) -> None:
        self.save_hyperparameters(conf, **options)


class Base(HyperparametersMixin):
    def __init__(self, width: int, depth: int = 1) -> None:
        self.save_hyperparameters()


class Child(Base):
    def __init__(self, width: int, extra: str = "x") -> None:
        super().__init__(width * 2, depth=5)


def test_all_arguments_are_collected_and_keyword_arguments_flattened() -> None:
    obj = Collected(1, c=5, z=9)
    assert obj.hparams == {"a": 1, "b": 2, "c": 5, "z": 9}
    assert obj._hparams_name == "kwargs"
    assert obj._log_hyperparams


def test_positional_rest_is_not_saved() -> None:
    assert Collected(1, 2, 7, 8).hparams == {"a": 1, "b": 2, "c": 3}


def test_a_configuration_is_saved_under_the_name_of_its_argument() -> None:
    obj = Configured(0, {"q": 1})
    assert obj.hparams == {"q": 1}
    assert isinstance(obj.hparams, AttributeDict)
    assert obj._hparams_name == "conf"


@pytest.mark.parametrize("conf", [Namespace(q=1), UserDict(q=1)])
def test_namespaces_and_other_mutable_mappings_are_accepted(conf: Any) -> None:
    obj = Configured(0, conf)
    assert obj.hparams["q"] == 1
    assert obj._hparams_name == "conf"


def test_a_copy_of_the_configuration_is_still_recognised_even_beside_tensors() -> None:
    class Model(HyperparametersMixin):
        def __init__(self, weights: Any, conf: Any) -> None:
            self.save_hyperparameters(dict(conf))

    assert Model({"w": torch.ones(2)}, {"q": 1})._hparams_name == "conf"
    assert Model({"q": torch.ones(2)}, {"q": torch.ones(2)})._hparams_name == "conf"


@pytest.mark.parametrize("conf", [3, 1.5, True, [1], object()])
def test_what_is_no_mapping_is_refused(conf: Any) -> None:
    with pytest.raises(ValueError, match=r"`save_hyperparameters` takes.*" + type(conf).__name__):
        Configured(0, conf)


@pytest.mark.parametrize("conf", [None, {}, [], 0])
def test_one_empty_argument_saves_nothing(conf: Any) -> None:
    obj = Configured(0, conf)
    assert obj.hparams == {}
    assert obj._hparams_name is None


def test_only_named_arguments_are_saved() -> None:
    class Model(HyperparametersMixin):
        def __init__(self, a: int, b: int, c: int) -> None:
            self.save_hyperparameters("a", "c")

    assert Model(1, 2, 3).hparams == {"a": 1, "c": 3}


def test_a_misspelt_name_is_refused_with_a_suggestion() -> None:
    class Model(HyperparametersMixin):
        def __init__(self, width: int) -> None:
            self.save_hyperparameters("widht")

    with pytest.raises(ValueError, match=r"`widht`.*Did you mean `width`"):
        Model(1)


def test_names_and_a_mapping_together_are_refused() -> None:
    class Model(HyperparametersMixin):
        def __init__(self, width: int) -> None:
            self.save_hyperparameters("width", {"q": 1})

    with pytest.raises(ValueError, match=r"not both"):
        Model(1)


def test_a_subclass_saves_its_own_arguments_over_those_of_its_base() -> None:
    assert Child(3).hparams == {"width": 3, "depth": 5, "extra": "x"}


def test_an_object_built_inside_another_saves_its_own_arguments_alone() -> None:
    class Outer(HyperparametersMixin):
        def __init__(self, rate: float) -> None:
            self.inner = Base(7)
            self.save_hyperparameters()

    outer = Outer(0.5)
    assert outer.hparams == {"rate": 0.5}
    assert outer.inner.hparams == {"width": 7, "depth": 1}


def test_a_decorated_init_and_a_call_from_a_method_are_seen_through() -> None:
    def noted(init: Callable[..., None]) -> Callable[..., None]:
        @wraps(init)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)

        return wrapper

    class Model(HyperparametersMixin):
        @noted
        def __init__(self, a: int, b: int = 2) -> None:
            self.remember()

        def remember(self) -> None:
            self.save_hyperparameters()

    assert Model(1).hparams == {"a": 1, "b": 2}


def test_a_dataclass_saves_its_init_fields() -> None:
    @dataclass
    class Model(HyperparametersMixin):
        a: int
        b: int = 2
        c: int = field(default=3, init=False)

        def __post_init__(self) -> None:
            self.save_hyperparameters()

    assert Model(1).hparams == {"a": 1, "b": 2}


def test_what_a_subclass_ignores_is_left_out_though_its_base_has_saved_the_whole_chain() -> None:
    class Base(HyperparametersMixin):
        def __init__(self, a: int, b: int) -> None:
            self.save_hyperparameters(ignore="a")

    class Derived(Base):
        def __init__(self, a: int, b: int, c: int) -> None:
            super().__init__(a, b)
            self.save_hyperparameters(ignore="c")

    assert Derived(1, 2, 3).hparams == {"a": 1, "b": 2}


@pytest.mark.parametrize("ignore", ["b", ["b"], ("b", "unknown")])
def test_ignored_names_are_left_out(ignore: Any) -> None:
    class Model(HyperparametersMixin):
        def __init__(self, a: int, b: int) -> None:
            self.save_hyperparameters(ignore=ignore)

    assert Model(1, 2).hparams == {"a": 1}
    assert Configured(0, {"a": 1, "b": 2}, ignore=ignore).hparams == {"a": 1}


def test_initial_values_stay_what_they_were() -> None:
    obj = Configured(0, {"layers": [1, 2]})
    obj.hparams.layers.append(3)
    obj.hparams.added = 1
    assert obj.hparams_initial == {"layers": [1, 2]}
    obj.hparams_initial.layers.clear()
    assert obj.hparams_initial == {"layers": [1, 2]}


def test_a_second_call_adds() -> None:
    class Model(HyperparametersMixin):
        def __init__(self, a: int, b: int) -> None:
            self.save_hyperparameters("a")
            self.save_hyperparameters("b", logger=False)

    obj = Model(1, 2)
    assert obj.hparams == obj.hparams_initial == {"a": 1, "b": 2}
    assert not obj._log_hyperparams


def test_without_saving_there_are_no_hyperparameters() -> None:
    obj = HyperparametersMixin()
    assert obj.hparams == obj.hparams_initial == {}
    assert obj._hparams_name is None
    assert not obj._log_hyperparams


class Net(HyperparametersMixin, nn.Module):
    def __init__(self, loss: nn.Module, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_modules_among_the_values_are_warned_about_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match=r"ignore=\['loss'\]") as caught:
        net = Net(nn.MSELoss())
    assert caught[0].filename == __file__
    assert net.hparams.lr == 0.1


def test_a_value_that_cannot_be_copied_is_named() -> None:
    with pytest.raises(TypeError, match=r"`lock`.*ignore=\['lock'\]"):
        Configured(0, {"lock": threading.Lock()})


def test_given_values_replace_collection_and_note_how_to_rebuild() -> None:
    with given_hyperparameters({"a": "from file"}, instantiator="lt_cli.build", class_path="my.Model"):
        obj = Collected(1)
    assert obj.hparams == {"a": "from file", "_instantiator": "lt_cli.build", "_class_path": "my.Model"}
    assert Collected(1).hparams == {"a": 1, "b": 2, "c": 3}


def test_an_explicit_frame_is_read() -> None:
    class Model(HyperparametersMixin):
        def __init__(self, a: int) -> None:
            import inspect

            self.save_hyperparameters(frame=inspect.currentframe())

    assert Model(4).hparams == {"a": 4}


@settings(deadline=None)
@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers()))
def test_attribute_dict_is_the_same_dict_by_items_and_by_attributes(items: dict[str, int]) -> None:
    attributes = AttributeDict()
    for key, value in items.items():
        setattr(attributes, key, value)
    assert attributes == items
    assert all(getattr(attributes, key) == value for key, value in items.items())
    assert pickle.loads(pickle.dumps(attributes)) == copy.deepcopy(attributes) == items
    assert type(copy.deepcopy(attributes)) is AttributeDict


def test_missing_attributes_are_attribute_errors_with_a_suggestion() -> None:
    hparams = AttributeDict(learning_rate=1)
    with pytest.raises(AttributeError, match=r"`learning_rat`.*Did you mean `learning_rate`"):
        _ = hparams.learning_rat
    with pytest.raises(AttributeError, match=r"`nothing`"):
        del hparams.nothing
    del hparams.learning_rate
    assert not hparams
