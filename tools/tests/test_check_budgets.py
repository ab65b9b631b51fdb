import textwrap
from pathlib import Path

import pytest

from check_budgets import Module, Size, budget_problems, drawers, methods_in, read_exemptions


def sizes(source: str) -> list[Size]:
    return list(Module("m", "m.py", textwrap.dedent(source)).sizes())


def value(source: str, rule: str, owner: str) -> int:
    return next(size.value for size in sizes(source) if (size.rule, size.owner) == (rule, owner))


def over(source: str) -> set[tuple[str, str]]:
    return {(size.rule, size.owner) for size in sizes(source) if size.is_over}


def function_of(lines: int) -> str:
    return "def long():\n" + "    pass\n" * lines


def test_function_over_forty_lines_is_found() -> None:
    assert over(function_of(40)) == set()
    assert over(function_of(41)) == {("body", "m:long")}


def test_signature_and_docstring_do_not_count() -> None:
    source = '''
    def documented(
        first,
        *,
        second,
    ):
        """One sentence.

        More.
        """
        return first
    '''
    assert value(source, "body", "m:documented") == 1


def test_file_over_four_hundred_lines_is_found() -> None:
    assert over("x = 1\n" * 400) == set()
    assert over("x = 1\n" * 401) == {("file", "m")}


def test_class_with_too_many_methods_is_found() -> None:
    body = "".join(f"    def method_{i}(self): ...\n" for i in range(16))
    assert over(f"class Wide:\n{body}") == {("methods", "m:Wide")}


def test_fields_and_assigned_attributes_count_once() -> None:
    source = """
    class Holder:
        field: int
        constant: ClassVar[int] = 1

        def __init__(self):
            self.field = 1
            self.other = 2
    """
    assert value(source, "attributes", "m:Holder") == 2


def test_self_is_no_parameter() -> None:
    source = """
    class Thing:
        def method(self, first, second, *, third, fourth): ...
        @staticmethod
        def free(first): ...
    """
    assert value(source, "parameters", "m:Thing.method") == 4
    assert value(source, "positional", "m:Thing.method") == 2
    assert value(source, "parameters", "m:Thing.free") == 1


def test_more_than_three_parameters_are_keyword_only_after_the_second() -> None:
    assert over("def f(a, b, c): ...") == set()
    assert over("def f(a, b, *, c, d): ...") == set()
    assert over("def f(a, b, c, *, d): ...") == {("positional", "m:f")}


def test_elif_is_not_deeper_than_its_if() -> None:
    source = """
    def f(x):
        if x == 1:
            pass
        elif x == 2:
            pass
        elif x == 3:
            for _ in x:
                pass
    """
    assert value(source, "nesting", "m:f") == 2


def test_fourth_level_of_nesting_is_found() -> None:
    source = """
    def f(x):
        for a in x:
            with a:
                try:
                    if a:
                        pass
                finally:
                    pass
    """
    assert over(source) == {("nesting", "m:f")}


def test_nested_function_is_measured_on_its_own() -> None:
    source = "def outer():\n    if True:\n        def inner():\n            if True:\n                pass\n"
    assert value(source, "nesting", "m:outer") == 1
    assert value(source, "nesting", "m:outer.inner") == 1


def test_exemption_silences_its_rule_alone() -> None:
    exemptions = read_exemptions("# why\nbody m:l* a table reads best in one piece\n")
    assert budget_problems(sizes(function_of(41)), exemptions) == []
    assert len(budget_problems(sizes("def long(a, b, c, d): ..."), exemptions)) == 2


def test_unused_exemption_is_a_problem() -> None:
    (problem,) = budget_problems([], read_exemptions("body m:gone it was long once"))
    assert "remove it" in problem


@pytest.mark.parametrize("line", ["body m:f", "colour m:f reason"])
def test_exemption_needs_a_rule_and_a_reason(line: str) -> None:
    with pytest.raises(ValueError, match="rule pattern reason"):
        read_exemptions(line)


def test_what_a_contract_gives_is_not_its_implementers_choice() -> None:
    contracts = methods_in(["class Contract:\n    def on_end(self, a, b, c, d): ...\n    def __init__(self): ...\n"])
    methods = "".join(f"    def method_{i}(self): ...\n" for i in range(15))
    source = f"class Mine:\n    def on_end(self, a, b, c, d): ...\n{methods}def on_end(a, b, c, d): ...\n"
    problems = {(size.rule, size.owner) for size in Module("m", "m.py", source, contracts).sizes() if size.is_over}
    assert problems == {("positional", "m:on_end")}
    assert ("methods", "m:Mine") in over(source)


@pytest.mark.parametrize("name", ["utils.py", "data_helpers.py", "manager/run.py", "checkpoint_connector.py"])
def test_drawers_are_refused(name: str) -> None:
    assert len(drawers([Path(name)])) == 1


def test_concepts_are_welcome() -> None:
    assert drawers([Path("wrapping.py"), Path("handling.py"), Path("commonality.py")]) == []
