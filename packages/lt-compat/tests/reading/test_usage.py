from textwrap import dedent

import pytest

from lt_compat.reading.usage import Usage, read_usage


def usage(source: str) -> Usage:
    return read_usage(dedent(source).encode())


def used(source: str) -> list[str]:
    return [path for use in usage(source).uses for path in use.paths]


@pytest.mark.parametrize(
    ("statement", "expression"),
    [
        ("import lightning as L", "L.pytorch.Trainer"),
        ("import lightning", "lightning.pytorch.Trainer"),
        ("import lightning.pytorch", "lightning.pytorch.Trainer"),
        ("import os, lightning.pytorch as pl", "pl.Trainer"),
        ("from lightning import pytorch", "pytorch.Trainer"),
        ("from lightning import pytorch as pl", "pl.Trainer"),
        ("from lightning.pytorch import Trainer", "Trainer"),
        ("from lightning.pytorch import Trainer as T", "T"),
        ("from lightning.pytorch import *", "Trainer"),
    ],
)
def test_a_name_is_recognised_however_it_was_imported(statement: str, expression: str) -> None:
    assert used(f"{statement}\nprint({expression})") == ["lightning.pytorch.Trainer"]


def test_names_that_only_look_alike_are_not_taken_for_lightnings() -> None:
    source = """
        import lightning.pytorch as pl
        import polars
        from .lightning import Trainer
        from mylightning.pytorch import Callback

        def f(pl, other):
            Trainer, Callback, other.pl.Trainer
            return pl.Trainer(pl=1)

        def g():
            import polars as pl
            return pl.DataFrame

        class A:
            pl = polars
    """
    assert used(source) == []


def test_names_are_found_before_their_import_and_in_every_scope() -> None:
    source = """
        def f():
            return [pl.Trainer for _ in range(3)]

        class A(pl.LightningModule):
            @pl.utilities.rank_zero.rank_zero_only
            def g(self, x: pl.Callback = pl.Timer) -> "pl.Trainer | None": ...

        import lightning.pytorch as pl
    """
    names = ["Trainer", "LightningModule", "utilities.rank_zero.rank_zero_only", "Callback", "Timer", "Trainer"]
    assert sorted(used(source)) == sorted(f"lightning.pytorch.{name}" for name in names)


def test_branches_may_bind_one_name_to_several_things() -> None:
    source = """
        try:
            import lightning.pytorch as pl
        except ImportError:
            import pytorch_lightning as pl
        pl.Trainer
    """
    assert used(source) == ["lightning.pytorch.Trainer", "pytorch_lightning.Trainer"]


def test_quoted_annotations_are_read_and_docstrings_are_not() -> None:
    source = '''
        """pl.Trainer, lightning.pytorch.Trainer"""
        import lightning.pytorch as pl
        x: "dict[str, pl.Trainer]"
        "pl.Trainer"
        "lightning.pytorch.Trainer"
        y = cast("pl.Callback", None)
    '''
    found = usage(source)
    assert [use.dotted.path for use in found.uses] == ["pl.Trainer", "pl.Callback"]
    assert not found.strings


def test_strings_that_are_paths_are_found_with_the_function_they_go_to() -> None:
    source = """
        import_module("lightning.pytorch")
        config = {"class_path": "pytorch_lightning.Trainer", "a": "see lightning.pytorch", "b": f"lightning.{x}"}
        b"lightning.pytorch.Trainer", [b"lightning.pytorch.Trainer"]
        "lightning" "pytorch"
    """
    found = [(string.dotted.path, string.passed_to) for string in usage(source).strings]
    assert found == [("lightning.pytorch", "import_module"), ("pytorch_lightning.Trainer", "")]


def test_places_count_bytes_also_behind_letters_of_several() -> None:
    found = usage('import lightning as L\né = "ä"; ö(L.Trainer, "lightning.Trainer")')
    for dotted in (found.uses[0].dotted, found.strings[0].dotted):
        assert found.syntax.code[dotted.start : dotted.ends[-1]].decode() == dotted.path


def test_what_stands_under_try_and_type_checking_is_marked() -> None:
    source = """
        try:
            import lightning
        except (ValueError, ModuleNotFoundError):
            lightning = None
        try:
            import lightning.fabric
        except ValueError:
            pass
        if TYPE_CHECKING:
            from lightning import Trainer
    """
    marks = [(binding.place.is_optional, binding.place.is_for_types) for binding in usage(source).bindings]
    assert marks == [(True, False), (False, False), (False, True)]


@pytest.mark.parametrize(("first", "is_optional"), [("Trainer", True), ("Nonsense", False)])
def test_a_second_choice_is_optional_if_the_first_is_there(first: str, is_optional: bool) -> None:
    source = f"""
        try:
            from lightning.pytorch import {first}
        except ImportError:
            from pytorch_lightning import Other
    """
    assert [binding.place.is_optional for binding in usage(source).bindings] == [True, is_optional]


def test_calls_and_methods_are_told_with_the_class_of_lightnings() -> None:
    source = """
        from lightning.pytorch import LightningModule, Trainer, seed_everything

        class Base(LightningModule):
            def on_epoch_end(self):
                self.on_batch_end()

            def on_batch_end(self): ...

        class Model(Base):
            def training_epoch_end(self, outputs):
                def training_step_end(): ...

        class Loop(Base, Loop): ...

        Trainer(max_epochs=1, **more).fit(model)
        seed_everything()
    """
    found = usage(source)
    assert [(call.callee.name, call.keywords) for call in found.calls] == [
        ("Trainer", ("max_epochs",)),
        ("seed_everything", ("",)),
    ]
    assert [(method.base.name, method.name, method.is_called) for method in found.methods] == [
        ("LightningModule", "on_epoch_end", False),
        ("LightningModule", "on_batch_end", True),
        ("LightningModule", "training_epoch_end", False),
    ]


def test_a_module_that_is_only_asked_for_may_be_any() -> None:
    source = """
        import lightning as L
        if L and not L or L is None: ...
        del L
        f(L)
        x = L if L is not None else 1
    """
    assert [use.may_be_any_module for use in usage(source).uses] == [True, True, True, True, False, False, True]
