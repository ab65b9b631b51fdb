"""Suggestions for misspelt names."""

from collections.abc import Iterable


def edit_distance(a: str, b: str) -> int:
    """Count the single-letter insertions, deletions, replacements and swaps of neighbours that turn ``a`` into ``b``.

    A swap of two neighbours counts one, but no letter is edited twice (the restricted Damerau-Levenshtein distance).

    >>> edit_distance("trian", "train")
    1
    """
    before_last: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        row = [i]
        for j, other in enumerate(b, start=1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before_last[j - 2] + 1)
            row.append(cost)
        before_last, last = last, row
    return last[-1]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Suggest the candidate nearest to ``word``, as a sentence to append to an error message, or ``""``.

    Case doesn't count. At most a third of the letters may differ, and never more than three.

    >>> did_you_mean("on_trian_start", ["on_train_start", "on_train_end"])
    ' Did you mean `on_train_start`?'
    """
    limit = max(1, min(3, len(word) // 3))
    distances = [(edit_distance(word.lower(), candidate.lower()), candidate) for candidate in candidates]
    close = [pair for pair in distances if pair[0] <= limit and pair[0] < len(word)]
    return f" Did you mean `{min(close)[1]}`?" if close else ""
