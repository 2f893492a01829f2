"""Who is compared with whom: two sequences are paired in order, two collections in any order."""
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

Pairs = list[tuple[int | None, int | None]]


def align(a: Sequence, b: Sequence, distance: Callable[[Any, Any], float], gap: float = 0.45,
          most: int | None = None) -> Pairs:
    """Pair two sequences in order, with the least sum of distances: [(i, j), (i, None), ...].

    `distance(x, y)` is 0 for equal elements; leaving an element alone costs `gap`. Dynamic
    programming, O(len a * len b). Of equally good pairings one with most pairs is taken. If more
    than `most` meet `most` in between what is equal at both ends, they are paired in their order.
    """
    n, m = len(a), len(b)
    if most and n * m > most * most:
        return _align_many(a, b, distance, gap, most)
    table = [[(i + j) * gap if not (i and j) else 0.0 for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            table[i][j] = min(table[i - 1][j - 1] + distance(a[i - 1], b[j - 1]),
                              table[i - 1][j] + gap, table[i][j - 1] + gap)
    pairs, i, j = [], n, m
    while i or j:
        if i and j and table[i][j] >= table[i - 1][j - 1] + distance(a[i - 1], b[j - 1]) - 1e-9:
            i, j, pair = i - 1, j - 1, (i - 1, j - 1)
        elif i and table[i][j] >= table[i - 1][j] + gap - 1e-9:
            i, pair = i - 1, (i - 1, None)
        else:
            j, pair = j - 1, (None, j - 1)
        pairs.append(pair)
    return pairs[::-1]


FEW = 150  # so many meet so many in any order in a tenth of a second


def _align_many(a, b, distance, gap, most):
    """`align` for long sequences: equal ends are paired at once, many others in their order."""
    n, m, start, end = len(a), len(b), 0, 0
    while start < min(n, m) and distance(a[start], b[start]) == 0:
        start += 1
    while end < min(n, m) - start and distance(a[n - 1 - end], b[m - 1 - end]) == 0:
        end += 1
    left, right = n - start - end, m - start - end
    if left * right <= most * most:
        middle = align(a[start:n - end], b[start:m - end], distance, gap)
    else:
        few = min(left, right)
        middle = [(k, k) for k in range(few)] + [(k, None) for k in range(few, left)] + \
            [(None, k) for k in range(few, right)]
    shifted = [(i if i is None else i + start, j if j is None else j + start) for i, j in middle]
    return [(k, k) for k in range(start)] + shifted + [(n - k, m - k) for k in range(end, 0, -1)]


def assign(a: Sequence, b: Sequence, distance: Callable[[Any, Any], float], gap: float = 0.5,
           key: Callable[[Any], Hashable] | None = None, most: int | None = None) -> Pairs:
    """Pair two collections in any order: like `align`, by the Hungarian method, O(n^3).

    Pairs come in the order of `a`, elements of `b` without a partner last. Two elements further
    apart than two gaps are left alone. Of equal distances the pair that keeps its place in the
    order is taken. Where many meet many, those with the same `key` are paired beforehand: an edit
    changes few of the thousand lines of a picture. If still more than `most` meet `most`, they are
    paired in their order.
    """
    n, m, found = len(a), len(b), {}
    if key and n * m > 2500:
        places = {}
        for j, element in enumerate(b):
            places.setdefault(key(element), []).append(j)
        for i, element in enumerate(a):
            if same := places.get(key(element)):
                found[i] = same.pop(same.index(i) if i in same else 0)
    rows, taken = [i for i in range(n) if i not in found], set(found.values())
    columns = [j for j in range(m) if j not in taken]
    if most and len(rows) * len(columns) > most * most:
        found |= {i: j for i, j in zip(rows, columns) if distance(a[i], b[j]) <= 2 * gap}
        rows, columns = [], []  # the rest stays alone
    # Rows: a, then blanks; columns: b, then blanks.
    cost = np.full((len(rows) + len(columns),) * 2, float(gap))
    cost[len(rows):, len(columns):] = 0.0
    for row, i in enumerate(rows):
        for column, j in enumerate(columns):
            cost[row, column] = min(distance(a[i], b[j]), 2 * gap + 1) + 1e-6 * abs(i - j)
    _, column_of = linear_sum_assignment(cost)
    found |= {i: columns[column] for i, column in zip(rows, column_of) if column < len(columns)}
    taken = set(found.values())
    return [(i, found.get(i)) for i in range(n)] + [(None, j) for j in range(m) if j not in taken]
