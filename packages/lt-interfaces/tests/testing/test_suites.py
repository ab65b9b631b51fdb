import ast
import inspect
import sys
from pathlib import Path

import pytest

from lt_interfaces import plugins, testing
from lt_interfaces.testing import _rewriting

SUITES = {name: suite for name, suite in vars(testing).items() if name.endswith("Contract")}


def test_every_kind_of_plugin_has_a_suite() -> None:
    contracts = [contract for contract in plugins.CONTRACTS.values() if contract is not None]
    expected = {contract.__name__.removeprefix("Cluster") + "Contract" for contract in contracts}
    assert expected <= set(SUITES)


def test_a_failed_assertion_of_any_suite_is_explained() -> None:
    modules = {suite.__module__.rpartition(".")[2] for suite in SUITES.values()}
    assert modules == set(_rewriting._SUITES)
    for suite in SUITES.values():
        assert type(sys.modules[suite.__module__].__loader__).__name__ == "AssertionRewritingHook", suite


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
def test_a_suite_without_its_part_fails_rather_than_passes(suite: type) -> None:
    tree = ast.parse(Path(inspect.getfile(suite)).read_text())
    fixtures = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(mark) for mark in node.decorator_list)
    ]
    assert any("NotImplementedError" in ast.unparse(fixture) for fixture in fixtures)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
def test_suites_are_not_collected_by_themselves(suite: type) -> None:
    assert not suite.__name__.startswith("Test")
