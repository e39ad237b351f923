"""Metrics as they are defined, in loops over plain numbers; slow, and written without a look at the fast ones."""
import itertools
import math


def cafa_fmax(pred, target):
    """CAFA's Fmax and threshold: proteins without annotation are no part of it; every score is a threshold."""
    proteins = [(p, [j for j, y in enumerate(t) if y]) for p, t in zip(pred, target) if any(t)]
    return _fmax(proteins, len(proteins))


def published_fmax(pred, target):
    """The same over all proteins; recall of one without annotation is 0."""
    return _fmax([(p, [j for j, y in enumerate(t) if y]) for p, t in zip(pred, target)], len(pred))


def _fmax(proteins, number):
    best, where = (0.0, math.nan) if proteins else (math.nan, math.nan)
    for threshold in sorted({score for scores, _ in proteins for score in scores}, reverse=True):
        precisions, recall = [], 0.0
        for scores, true in proteins:
            predicted = [j for j, score in enumerate(scores) if score >= threshold]
            right = len(set(predicted) & set(true))
            if predicted:
                precisions.append(right / len(predicted))
            if true:
                recall += right / len(true)
        precision, recall = sum(precisions) / len(precisions), recall / number
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        if f1 > best + 1e-12:
            best, where = f1, threshold
    return best, where


def average_precision(score, target):
    """Sum over thresholds of the gain in recall times precision; None without positives."""
    total, before, area = sum(target), 0, 0.0
    if not total:
        return None
    for threshold in sorted(set(score), reverse=True):
        passed = [y for s, y in zip(score, target) if s >= threshold]
        area += (sum(passed) - before) / total * sum(passed) / len(passed)
        before = sum(passed)
    return area


def auroc(score, target):
    """Share of pairs of a positive and a negative in the right order, a tie being half a pair."""
    pairs = [(a > b) + (a == b) / 2 for a, y in zip(score, target) if y for b, z in zip(score, target) if not z]
    return sum(pairs) / len(pairs) if pairs else None


def best_f1(score, target):
    """Highest F1 over all thresholds; None without positives."""
    if not sum(target):
        return None
    values = []
    for threshold in set(score):
        passed = [y for s, y in zip(score, target) if s >= threshold]
        values.append(2 * sum(passed) / (len(passed) + sum(target)))
    return max(values)


def top_k(scores, target, k):
    """Mean over all orders of tied classes of whether the true class is among the first k."""
    share = 0.0
    for row, true in zip(scores, target):
        orders = [order for order in itertools.permutations(range(len(row)))
                  if all(row[a] >= row[b] for a, b in itertools.pairwise(order))]
        share += sum(true in order[:k] for order in orders) / len(orders)
    return share / len(scores)


def ranks(values):
    """Ranks from 1; tied values have the mean of theirs."""
    return [sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
            for value in values]


def pearson(first, second):
    """Correlation; None where one side is constant."""
    if len(set(first)) == 1 or len(set(second)) == 1:
        return None
    a, b = sum(first) / len(first), sum(second) / len(second)
    covariance = math.fsum((x - a) * (y - b) for x, y in zip(first, second))
    return covariance / math.sqrt(math.fsum((x - a) ** 2 for x in first) * math.fsum((y - b) ** 2 for y in second))
