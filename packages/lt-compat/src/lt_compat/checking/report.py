"""What a check says: line by line for people, or as JSON for programs."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from lt_compat.checking.findings import CheckedFile, Finding, Verdict
from lt_compat.differences import Difference

_PAGE: Final = "docs/explanation/differences.md"


def as_text(files: Sequence[CheckedFile], *, shown: Iterable[Verdict]) -> Iterator[str]:
    """Yield the report's lines: each file's findings of the verdicts shown, then a table of all."""
    told: set[Difference] = set()
    wanted = set(shown)
    for file in files:
        findings = [finding for finding in file.findings if finding.verdict in wanted]
        if findings or file.problem:
            yield str(file.file)
        if file.problem:
            yield f"  not read: {file.problem}"
        for finding in findings:
            yield from _lines(finding, told)
    yield from summary(files)


def summary(files: Sequence[CheckedFile]) -> Iterator[str]:
    """Yield the table at the end: for each verdict, how many names and how many uses of them."""
    uses = [finding for file in files for finding in file.findings]
    using = sum(bool(file.findings) for file in files)
    unread = sum(bool(file.problem) for file in files)
    if uses:
        yield f"{'':10}{'names':>7}{'uses':>7}"
    for verdict, count in _counts(uses).items():
        names = {finding.name for finding in uses if finding.verdict is verdict}
        yield f"{verdict:10}{len(names):7}{count:7}"
    yield f"{using} of {len(files)} files use Lightning" + (f", {unread} couldn't be read." if unread else ".")
    if stopping := sorted({finding.name for finding in uses if finding.stops_the_program}):
        yield f"To be replaced before it runs on lt: {', '.join(stopping)}"
    if any(finding.verdict is Verdict.DIFFERS for finding in uses):
        yield f"What differs in every run, whatever its names, is in {_PAGE}."


def as_json(files: Sequence[CheckedFile], *, shown: Iterable[Verdict]) -> str:
    """Return the report as one JSON object."""
    wanted = set(shown)
    uses = [finding for file in files for finding in file.findings]
    report = {
        "files": [_file(file, wanted) for file in files if file.findings or file.problem],
        "files_read": len(files),
        "uses": _counts(uses),
        "stops_the_program": any(finding.stops_the_program for finding in uses),
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


def _counts(uses: Iterable[Finding]) -> dict[str, int]:
    counted = Counter(finding.verdict for finding in uses)
    return {verdict: counted[verdict] for verdict in Verdict}


def _lines(finding: Finding, told: set[Difference]) -> Iterator[str]:
    place = finding.place
    marks = [mark for mark, holds in (("optional", place.is_optional), ("for types", place.is_for_types)) if holds]
    mark = f" ({', '.join(marks)})" if marks else ""
    yield f"{place.line:6}  {finding.verdict:8} {finding.name}{mark}"
    if finding.instead:
        yield f"{'':17}{finding.instead}"
    for difference in finding.differences:
        if difference not in told:
            switch = f" The old way: {difference.switch}." if difference.switch else ""
            yield f"{'':17}{difference.title}: {difference.lt}.{switch}"
        told.add(difference)


def _file(file: CheckedFile, wanted: set[Verdict]) -> dict[str, Any]:
    findings = [_finding(finding) for finding in file.findings if finding.verdict in wanted]
    return {"file": str(file.file), "findings": findings} | ({"problem": file.problem} if file.problem else {})


def _finding(finding: Finding) -> dict[str, Any]:
    rows = [{"title": one.title, "lt": one.lt, "switch": one.switch} for one in finding.differences]
    return {
        "line": finding.place.line,
        "name": finding.name,
        "verdict": finding.verdict,
        "optional": finding.place.is_optional,
        "for_types": finding.place.is_for_types,
        "instead": finding.instead,
        "differences": rows,
    }
