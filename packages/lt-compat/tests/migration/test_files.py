from pathlib import Path
from textwrap import dedent

import pytest

from lt_compat.migration.files import migrate, migrate_file


def moved(source: str) -> str:
    return migrate(dedent(source).encode()).decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import lightning as L", "import lt as L"),
        ("import lightning.pytorch as pl", "import lt as pl"),
        ("import pytorch_lightning as pl", "import lt as pl"),
        ("import lightning", "import lt"),
        ("import os, lightning.pytorch as pl, sys", "import os, lt as pl, sys"),
        ("from lightning import pytorch as pl", "import lt as pl"),
        ("from lightning.pytorch import callbacks", "import lt_callbacks as callbacks"),
        ("import lightning.pytorch.loggers as log", "import lt_loggers as log"),
        ("from lightning.pytorch import Trainer", "from lt_core import Trainer"),
        (
            "from lightning.pytorch.callbacks import EarlyStopping, Timer as T",
            "from lt_callbacks import EarlyStopping, Timer as T",
        ),
        (
            "from lightning.pytorch.plugins import MixedPrecisionPlugin",
            "from lt_precision import MixedPrecision as MixedPrecisionPlugin",
        ),
        (
            "from lightning.pytorch import LightningModule, seed_everything, Trainer",
            "from lt_core import LightningModule, Trainer\nfrom lt_fabric import seed_everything",
        ),
        (
            "from lightning.pytorch import Trainer, callbacks as cb",
            "from lt_core import Trainer\nimport lt_callbacks as cb",
        ),
    ],
)
def test_import_statements_name_the_owners(before: str, after: str) -> None:
    assert moved(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import lightning.pytorch as pl\npl.callbacks.Timer()", "import lt as pl\npl.callbacks.Timer()"),
        ("import lightning as L\nL.pytorch.Trainer()", "import lt as L\nL.Trainer()"),
        ("import pytorch_lightning\npytorch_lightning.Trainer()", "import lt\nlt.Trainer()"),
        ("import lightning.pytorch\nlightning.pytorch.loggers.CSVLogger", "import lt\nlt.loggers.CSVLogger"),
        ("import lightning as L\nL.pytorch.strategies.FSDPStrategy", "import lt as L\nL.fsdp.FSDPStrategy"),
        ("import lightning as L\nisinstance(x, (L.Fabric,))", "import lt as L\nisinstance(x, (L.Fabric,))"),
        ('import lightning\nx: Final["lightning.pytorch.Trainer"]', 'import lt\nx: Final["lt.Trainer"]'),
        ('import lightning as L\nx: "list[L.pytorch.Trainer]"', 'import lt as L\nx: "list[L.Trainer]"'),
        ("import lightning\nif lightning is None: ...\ndel lightning", "import lt\nif lt is None: ...\ndel lt"),
        ("from lightning.pytorch import callbacks as c\nc.timer.Timer", "import lt_callbacks as c\nc.Timer"),
        ("import lightning as L\ntype X = L.pytorch.Trainer", "import lt as L\ntype X = L.Trainer"),
        (
            "import lightning as L\nmatch x:\n  case L.pytorch.Trainer(): ...",
            "import lt as L\nmatch x:\n  case L.Trainer(): ...",
        ),
        ("lt = 1\nimport lightning\nlightning.Trainer", "lt = 1\nimport lt as lightning\nlightning.Trainer"),
    ],
)
def test_uses_through_a_module_follow_it(before: str, after: str) -> None:
    assert moved(before) == after


def test_a_module_that_is_imported_by_a_function_follows_like_one_of_a_statement() -> None:
    before = """
        lightning = importlib.import_module("lightning.pytorch")
        lightning.Trainer, lightning.utilities.rank_zero_info
    """
    after = """
        lightning = importlib.import_module("lt")
        from lt_interfaces.rank_zero import rank_zero_info
        lightning.Trainer, rank_zero_info
    """
    assert moved(before) == dedent(after)


def test_a_name_that_is_none_where_the_import_fails_stays() -> None:
    before = """
        try:
            import lightning
        except ImportError:
            lightning = None
        if lightning is not None: lightning.pytorch.Trainer
    """
    after = """
        try:
            import lt as lightning
        except ImportError:
            lightning = None
        if lightning is not None: lightning.Trainer
    """
    assert moved(before) == dedent(after)


def test_a_name_that_a_class_or_a_global_statement_keeps_stays_bound() -> None:
    before = "class A:\n    import lightning.pytorch as pl\n    x = pl.utilities.rank_zero_info"
    assert moved(before).startswith(
        "class A:\n    import lt as pl\n    from lt_interfaces.rank_zero import rank_zero_info\n"
    )
    before = "def f():\n    global lightning\n    import lightning\nf()\nlightning.pytorch.Trainer"
    assert moved(before) == "def f():\n    global lightning\n    import lt as lightning\nf()\nlightning.Trainer"


def test_an_import_that_another_scope_hides_is_not_relied_on() -> None:
    before = """
        import lightning.pytorch as pl
        from lightning.pytorch.utilities import rank_zero_info

        def f(rank_zero_info):
            pl.utilities.rank_zero_info()
    """
    assert "    lt_rank_zero_info()" in moved(before)


def test_what_the_front_door_lacks_is_imported_by_itself() -> None:
    before = """
        import lightning.pytorch as pl  # the framework

        def f(trainer: pl.Trainer):
            pl.utilities.rank_zero_info(trainer)
    """
    after = """
        import lt as pl  # the framework
        from lt_interfaces.rank_zero import rank_zero_info

        def f(trainer: pl.Trainer):
            rank_zero_info(trainer)
    """
    assert moved(before) == dedent(after)


def test_a_module_that_nothing_is_reached_through_any_more_goes() -> None:
    before = "import lightning.pytorch.utilities as u  # noqa\nu.CombinedLoader, u.rank_zero.rank_zero_info"
    assert "import lt_fabric.data as u  # noqa" in moved(before)
    before = "import lightning.pytorch as pl  # noqa\npl.utilities.rank_zero_info"
    assert moved(before) == "from lt_interfaces.rank_zero import rank_zero_info  # noqa\nrank_zero_info"


def test_a_name_that_is_taken_is_imported_by_another() -> None:
    before = "import lightning.pytorch as pl\ndef rank_zero_info(): pl.utilities.rank_zero_info()"
    assert "from lt_interfaces.rank_zero import rank_zero_info as lt_rank_zero_info\n" in moved(before)
    assert "def rank_zero_info(): lt_rank_zero_info()" in moved(before)


def test_a_name_that_is_imported_already_is_used() -> None:
    before = """
        import lightning.pytorch as pl
        from lightning.pytorch.utilities import rank_zero_info
        pl.utilities.rank_zero_info, pl.Trainer
    """
    assert moved(before).count("rank_zero_info") == 3
    assert moved(before).endswith("\nrank_zero_info, pl.Trainer\n")


def test_comments_and_layout_of_a_statement_are_kept() -> None:
    before = """
        from lightning.pytorch.callbacks import (  # all
            # stops
            EarlyStopping,
            Timer as T,  # time
        )
    """
    assert moved(before) == dedent(before).replace("lightning.pytorch.callbacks", "lt_callbacks")


def test_comments_go_with_their_names_when_a_statement_is_split() -> None:
    before = """
        if True:
            from lightning.pytorch import (
                # the loop
                Trainer,
                seed_everything,  # the same numbers
                LightningModule as Base,
                # the end
            )  # noqa: F401
    """
    after = """
        if True:
            from lt_core import (
                # the loop
                Trainer,
                # the end
                LightningModule as Base,
            )  # noqa: F401
            from lt_fabric import (
                seed_everything,  # the same numbers
            )  # noqa: F401
    """
    assert moved(before) == dedent(after)


def test_statements_that_share_a_line_still_do() -> None:
    before = "if True: import os; from lightning.pytorch import Trainer, seed_everything; x = 1"
    assert (
        moved(before) == "if True: import os; from lt_core import Trainer; from lt_fabric import seed_everything; x = 1"
    )


def test_imports_that_come_to_the_same_are_made_once() -> None:
    before = "import lightning\nimport lightning.pytorch\nimport lightning.fabric  # too\nlightning.pytorch.Trainer"
    assert moved(before) == "import lt\nimport lt  # too\nlt.Trainer"


@pytest.mark.parametrize(
    "source",
    [
        "from lightning.pytorch.strategies import StrategyRegistry",
        "from lightning.pytorch import Trianer",
        "from lightning.pytorch.strategies import *\nStrategyRegistry",
        "import lightning as L\nL.Trainer, L.pytorch.strategies.StrategyRegistry",
        "import lightning as L\nL.Trainer, L.__version__",
        "import lightning as L\nL.Trainer, getattr(L, name)",
        "from lightning.pytorch import __version__",
        "from lightning.pytorch import loops",
        'x = "lightning.pytorch.strategies.StrategyRegistry"',
        'import_module("lightning.pytorch")',
        'x = import_module("lightning.pytorch")\nf(x)',
        "def f():\n  global L\n  import lightning as L\nL.pytorch.utilities.rank_zero_info",
        "if x:\n  import lightning as L\nelse:\n  import other as L\nL.pytorch.Trainer",
        'logging.getLogger("lightning.pytorch")',
    ],
)
def test_what_cannot_be_moved_stays_whole_and_is_told(source: str, tmp_path: Path) -> None:
    assert moved(source) == source
    (tmp_path / "a.py").write_text(source)
    (left,) = migrate_file(tmp_path / "a.py").left
    assert left.line in {source.count("\n") + 1, 2, 3}
    assert left.why


def test_names_beside_one_that_stays_are_moved() -> None:
    before = "from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry as R, FSDPStrategy"
    assert moved(before).splitlines() == [
        "from lt_strategies import DDPStrategy",
        "from lightning.pytorch.strategies import StrategyRegistry as R",
        "from lt_fsdp import FSDPStrategy",
    ]


def test_strings_that_name_classes_follow_and_others_stay() -> None:
    before = '''
        """lightning.pytorch.Trainer"""
        x = {"_target_": "lightning.pytorch.Trainer", "note": "lightning.pytorch"}  # lightning.pytorch.Trainer
        mock.patch('pytorch_lightning.Trainer.fit')
        import_module("lightning.pytorch.loggers.csv_logs")
    '''
    after = '''
        """lightning.pytorch.Trainer"""
        x = {"_target_": "lt_core.Trainer", "note": "lightning.pytorch"}  # lightning.pytorch.Trainer
        mock.patch('lt_core.Trainer.fit')
        import_module("lt_loggers")
    '''
    assert moved(before) == dedent(after)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_the_encoding_of_a_file_is_kept(encoding: str) -> None:
    text = "# -*- coding: latin-1 -*-\r\nx = 'é'; import lightning\r\n"
    text = text if encoding == "latin-1" else text.partition("\r\n")[2]
    assert migrate(text.encode(encoding)) == text.replace("lightning", "lt").encode(encoding)


def test_a_file_says_which_packages_it_needs(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "from lightning.pytorch import Trainer\nfrom lightning.pytorch.loggers import CSVLogger"
    )
    (tmp_path / "b.py").write_text("import lightning as L")
    (tmp_path / "c.yaml").write_text("class_path: lightning.pytorch.callbacks.Timer\nx: lightning.pytorch.Trianer\n")
    assert migrate_file(tmp_path / "a.py").packages == {"lt-core", "lt-loggers"}
    assert migrate_file(tmp_path / "b.py").packages == {"lt-all"}
    config = migrate_file(tmp_path / "c.yaml")
    assert config.after.startswith(b"class_path: lt_callbacks.Timer\n")
    assert (config.packages, [left.line for left in config.left]) == ({"lt-callbacks"}, [2])


def test_a_file_that_would_not_come_back_whole_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\x0cimport lightning as L\n")
    found = migrate_file(tmp_path / "a.py")
    assert "byte for byte" in found.problem
    assert not found.is_changed


@pytest.mark.parametrize(("name", "text"), [("a.py", b"import lightning as ("), ("b.yaml", b"lightning \xff")])
def test_a_file_that_cannot_be_read_is_told_and_stays(name: str, text: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text)
    found = migrate_file(tmp_path / name)
    assert found.problem
    assert not found.is_changed
