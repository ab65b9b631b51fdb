"""The table knows every documented name of Lightning's, and each of its entries holds.

`lightning_names.txt` lists the names of Lightning 2.6.6, a line each: ``module: name``. It leaves out what starts with
an underscore, typing names, the modules that `lt_compat.names.private` calls private, and what Lightning itself keeps
only to say that it's gone.
"""

import importlib
from pathlib import Path

import pytest

import lt_interfaces
from lt_compat.modules import table_key
from lt_compat.names import MODULES, Missing, Owner, is_module

LISTED = [
    (module, name)
    for line in (Path(__file__).parent / "lightning_names.txt").read_text().splitlines()
    for module, _, name in [line.partition(": ")]
]
ENTRIES = [(module, name, entry) for module, names in MODULES.items() for name, entry in names.items()]


def module_of(path: str) -> str:
    key = table_key(path)
    assert key is not None
    return key


def test_every_documented_name_is_in_the_table() -> None:
    assert len(LISTED) > 500
    forgotten = [f"{module}.{name}" for module, name in LISTED if name not in MODULES.get(module_of(module), {})]
    assert forgotten == []


def test_every_documented_module_can_be_imported() -> None:
    assert [module for module, _ in LISTED if not is_module(module_of(module))] == []


@pytest.mark.parametrize(
    "owner", sorted({(entry.module, entry.name) for *_, entry in ENTRIES if isinstance(entry, Owner)})
)
def test_every_name_has_its_owner(owner: tuple[str, str]) -> None:
    module, name = owner
    assert hasattr(importlib.import_module(module), name)


def test_owners_offer_the_names_to_everybody() -> None:
    private = {
        f"{entry.module}.{entry.name}"
        for *_, entry in ENTRIES
        if isinstance(entry, Owner) and any(part.startswith("_") for part in f"{entry.module}.{entry.name}".split("."))
    }
    assert private == set()


def test_every_missing_name_says_in_a_sentence_what_to_use() -> None:
    for module, name, entry in ENTRIES:
        if isinstance(entry, Missing):
            assert entry.instead.endswith("."), (module, name)
            assert "`" in entry.instead, (module, name)
            assert entry.instead.count("`") % 2 == 0, (module, name)


@pytest.mark.usefixtures("lightning_names")
@pytest.mark.parametrize(
    ("module", "name", "owner"),
    [
        ("lightning.pytorch.utilities.types", "STEP_OUTPUT", "lt_core.types"),
        ("lightning.fabric.utilities.types", "_PATH", "lt_fabric.types"),
        ("pytorch_lightning.core.hooks", "ModelHooks", "lt_core.hook_groups"),
        ("pytorch_lightning.utilities.model_summary", "ModelSummary", "lt_callbacks.module_summary"),
        ("lightning.pytorch.utilities.parsing", "lightning_getattr", "lt_core.attribute_holders"),
        ("lightning_fabric.utilities.throughput", "Throughput", "lt_interfaces.throughput"),
        ("lightning.pytorch.demos.boring_classes", "BoringModel", "lt_compat.demos.boring_classes"),
    ],
)
def test_names_are_the_owners_own(module: str, name: str, owner: str) -> None:
    found = getattr(importlib.import_module(module), name)
    theirs = name.removeprefix("_")
    assert found is getattr(importlib.import_module(owner), theirs)


@pytest.mark.usefixtures("lightning_names")
def test_renamed_functions_do_what_lightnings_do() -> None:
    utilities = importlib.import_module("lightning.pytorch.utilities")
    summaries = importlib.import_module("lightning.pytorch.utilities.model_summary")
    assert utilities.suggested_max_num_workers(10_000) == 1
    assert summaries.get_human_readable_count(1234) == "1.2 K"
    assert summaries.parse_batch_shape("text") == "?"
    assert issubclass(utilities.GradClipAlgorithmType, utilities.LightningEnum)
    rank_zero = importlib.import_module("lightning.fabric.utilities.rank_zero")
    assert (
        rank_zero.rank_zero_module.rank_zero_only is rank_zero.rank_zero_only is lt_interfaces.rank_zero.rank_zero_only
    )


@pytest.mark.usefixtures("lightning_names")
def test_a_missing_name_is_refused_with_what_to_use_instead() -> None:
    with pytest.raises(
        ImportError, match=r"`lightning.pytorch.plugins.layer_sync.TorchSyncBatchNorm`.*sync_batchnorm=True"
    ):
        exec("from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm")
