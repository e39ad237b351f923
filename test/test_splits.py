"""Splits made by StructureFolder: what is similar stays together, what is new moves nothing that was there."""
import csv
import itertools
import os

import numpy as np
import pytest

from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.datasets.alignment import SCORES, align, chance
from gearnet_plugin.datasets.similarity import CHANCE, similar_groups
from gearnet_plugin.datasets.splits import SplitRule, item_clusters
from gearnet_plugin.datasets.stored import LoadedStructures
from gearnet_plugin.structures import ONE_LETTER, Structure, read_structure
from gearnet_plugin.structures.bundled import bundled_path, bundled_structures
from gearnet_plugin.structures.prepare import Recipe, prepare

TABLE = os.path.join(bundled_path(), "chains.tsv")


def types(text):
    return np.array([ONE_LETTER.index(letter) for letter in text], dtype=np.uint8)


def random_sequence(rng, length, unknown=False):
    return rng.integers(0, 21 if unknown else 20, size=length).astype(np.uint8)


def mutated(rng, sequence, identity, gaps=2):
    """A sequence with about this identity to another, and some pieces cut out or put in."""
    result = np.where(rng.random(len(sequence)) < identity, sequence, rng.integers(0, 20, size=len(sequence)))
    for _ in range(gaps):
        place = rng.integers(5, len(result) - 5)
        if rng.random() < 0.5:
            result = np.delete(result, slice(place, place + rng.integers(1, 6)))
        else:
            result = np.insert(result, place, rng.integers(0, 20, size=rng.integers(1, 6)))
    return result.astype(np.uint8)


def structure(name, *chains):
    """A structure with a chain A, B, ... for each sequence."""
    residues = np.concatenate(chains)
    ids = np.repeat(list("ABCDEFGH"[:len(chains)]), [len(chain) for chain in chains])
    count = len(residues)
    return Structure(name, np.zeros((count, 3)), residues, ids, ids, np.arange(count), np.full(count, ""),
                     np.full(count, "ALA"), np.zeros(count), source=f"/somewhere/{name}.pdb")


def bundled_sequences():
    return [read_structure(path).residue_types for path in bundled_structures()]


def connected(size, pairs):
    """The partition of numbers that pairs connect, as a set of frozen sets."""
    groups = {number: {number} for number in range(size)}
    for one, other in pairs:
        joined = groups[one] | groups[other]
        for number in joined:
            groups[number] = joined
    return {frozenset(group) for group in groups.values()}


def partition(labels):
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


# === alignments ===


def plain_alignment(one, other):
    """Score and identical residues of the best local alignment, cell by cell as Gotoh wrote it."""
    lowest = (-10 ** 6, 0)
    rows, columns = len(one) + 1, len(other) + 1
    here = [[(0, 0)] * columns for _ in range(rows)]
    down, along = ([[lowest] * columns for _ in range(rows)] for _ in range(2))
    for i, j in itertools.product(range(1, rows), range(1, columns)):
        down[i][j] = max((here[i - 1][j][0] - 12, here[i - 1][j][1]), (down[i - 1][j][0] - 1, down[i - 1][j][1]))
        along[i][j] = max((here[i][j - 1][0] - 12, here[i][j - 1][1]), (along[i][j - 1][0] - 1, along[i][j - 1][1]))
        score, same = here[i - 1][j - 1]
        a, b = int(one[i - 1]), int(other[j - 1])
        met = (score + int(SCORES[a, b]), same + (a == b and a < 20))
        here[i][j] = max((0, 0), met, down[i][j], along[i][j])
    return max(max(row) for row in here)


def test_alignments_are_those_of_the_plain_recursion():
    """Also with unknown residues, single residues, long gaps, and whatever stands beside a sequence."""
    rng = np.random.default_rng(0)
    root = random_sequence(rng, 45)
    others = [mutated(rng, root, x) for x in (0.9, 0.6, 0.4, 0.3)] + [np.delete(root, slice(15, 28))]
    others += [random_sequence(rng, n, unknown=True) for n in (1, 2, 7, 40, 61)] + [root, np.full(9, 20, np.uint8)]
    for query in (root, others[1], others[4], others[6], others[8], others[-1]):
        scores, identical = align(query, others)
        assert list(zip(scores.tolist(), identical.tolist(), strict=True)) == [
            plain_alignment(query, other) for other in others]
        alone = [align(query, [other]) for other in others]
        assert [int(score[0]) for score, _ in alone] == scores.tolist()


def test_long_sequences_do_not_overflow():
    rng = np.random.default_rng(1)
    long = random_sequence(rng, 9000)
    scores, identical = align(long, [long, long[:5], long[1000:]])
    assert identical.tolist() == [9000, 5, 8000]
    assert scores.tolist() == [int(SCORES[part, part].sum()) for part in (long, long[:5], long[1000:])]


@pytest.fixture(scope="module")
def biotite():
    """score, identical residues and lengths of a pair, by another program."""
    sequence = pytest.importorskip("biotite.sequence")
    from biotite.sequence import align as aligner

    matrix = aligner.SubstitutionMatrix.std_protein_matrix()

    def compare(one, other):
        pair = [sequence.ProteinSequence("".join(ONE_LETTER[i] for i in part)) for part in (one, other)]
        found = aligner.align_optimal(*pair, matrix, gap_penalty=(-12, -1), local=True, max_number=20)
        known = [sum(a == b and a != "X" for a, b in zip(*alignment.get_gapped_sequences(), strict=True))
                 for alignment in found]
        return int(found[0].score), known

    return compare


def test_alignments_are_those_of_biotite(biotite):
    rng = np.random.default_rng(2)
    sequences = bundled_sequences()[:6]
    sequences += [mutated(rng, sequences[0], x) for x in (0.8, 0.4, 0.3)]
    for i, query in enumerate(sequences):
        for other, score, same in zip(sequences[i:], *align(query, sequences[i:]), strict=True):
            their_score, theirs = biotite(query, other)
            # of equally good alignments biotite may give up before the one with most identical residues
            assert score == their_score and same >= max(theirs)
            if chance(score, len(query) * len(other)) <= CHANCE:
                assert same <= max(theirs) + 2


# === groups ===


def test_no_similar_pair_is_missed():
    """Groups are those of all alignments of all pairs, at several identities, though few pairs are aligned."""
    rng = np.random.default_rng(3)
    sequences = bundled_sequences()[:40]
    for root in sequences[:14]:
        sequences = [*sequences, mutated(rng, root, rng.uniform(0.25, 0.5), gaps=4)]
    lengths = np.array([len(sequence) for sequence in sequences])
    # one alignment each for both orders of a pair, which must agree
    found = [align(sequence, sequences) for sequence in sequences]
    scores, identical = (np.array([pair[i] for pair in found]) for i in (0, 1))
    assert (scores == scores.T).all() and (identical == identical.T).all()
    sure = chance(scores, lengths * lengths[:, None]) <= CHANCE
    fractions = identical / np.minimum(lengths, lengths[:, None])
    sizes = set()
    for identity in (0.2, 0.3, 0.5, 0.9):
        pairs = np.argwhere((fractions >= identity) & sure).tolist()
        groups = similar_groups(sequences, identity)
        assert partition(groups) == connected(len(sequences), pairs)
        sizes.add(len(set(groups.tolist())))
    assert len(sizes) >= 3


@pytest.mark.parametrize("identity", [0.3, 0.95, 1.0])
@pytest.mark.parametrize("length", [3, 8, 30, 251])
def test_equal_sequences_and_point_mutants_stay_together(identity, length):
    """However short, at the first residue, at the last and between, with an unknown residue, and through each other."""
    rng = np.random.default_rng(length)
    root = random_sequence(rng, length)
    family = [root, root]
    for place in (0, length // 2, length - 1):
        mutant = family[-1].copy()
        mutant[place] = (mutant[place] + 1 + rng.integers(19)) % 20
        family.append(mutant)
    unknown = root.copy()
    unknown[1] = 20
    family.append(unknown)
    groups = similar_groups([*family, random_sequence(rng, length + 40)], identity)
    assert len(set(groups[:-1].tolist())) == 1 and groups[-1] != groups[0]


def test_peptides_do_not_connect_everything():
    """Three residues of ten, which any long sequence holds somewhere, are 30 %, but not similar."""
    rng = np.random.default_rng(4)
    sequences = [random_sequence(rng, length) for length in [300] * 20 + [10] * 30 + [4] * 5]
    assert len(set(similar_groups(sequences, 0.3).tolist())) == len(sequences)


def test_groups_depend_neither_on_the_order_nor_on_repetition():
    rng = np.random.default_rng(5)
    roots = [random_sequence(rng, int(length)) for length in rng.integers(40, 200, size=12)]
    sequences = roots + [mutated(rng, root, 0.5) for root in roots[:8]] + roots[:3]
    before = partition(similar_groups(sequences, 0.3))
    for _ in range(3):
        order = rng.permutation(len(sequences))
        after = similar_groups([sequences[i] for i in order], 0.3)
        assert {frozenset(order[list(group)].tolist()) for group in partition(after)} == before
    assert similar_groups([], 0.3).tolist() == []


def test_entries_go_together_by_any_chain():
    rng = np.random.default_rng(6)
    a, b, c, d = (random_sequence(rng, 60) for _ in range(4))
    assert partition(item_clusters([[a, b], [b, c], [c], [d], [mutated(rng, d, 0.6), d]], 0.3)) == {
        frozenset({0, 1, 2}), frozenset({3, 4})}


# === random splits ===


def many(count, length=12):
    rng = np.random.default_rng(7)
    return [structure(f"s{i}", random_sequence(rng, length)) for i in range(count)]


def by_name(rule, structures, per="entry"):
    splits = rule.assign(LoadedStructures(structures), per, verbose=0)
    assert sorted(i for items in splits.values() for i in items) == list(range(len(structures)))
    return {structures[i].name: name for name, items in splits.items() for i in items}


def test_more_structures_and_another_order_move_none():
    structures, rule = many(300), SplitRule("random", [0.6, 0.2, 0.2], 3)
    every = by_name(rule, structures)
    some = by_name(rule, structures[::-1][::2])
    assert len(some) == 150 and some.items() <= every.items()
    assert by_name(SplitRule("random", [0.6, 0.2, 0.2], 4), structures) != every


def test_the_fractions_are_met_as_by_dice():
    structures = many(1500, length=2)
    splits = SplitRule("random", [0.7, 0.3, 0]).assign(LoadedStructures(structures), verbose=0)
    assert list(splits) == ["train", "valid"]
    # five standard deviations
    assert abs(len(splits["valid"]) - 450) < 5 * (1500 * 0.3 * 0.7) ** 0.5


def test_chains_of_a_file_stay_together():
    rng = np.random.default_rng(8)
    chains = [chain for i in range(60) for chain in structure(f"f_{i}", *[random_sequence(rng, 5)] * 3).chains()]
    found = by_name(SplitRule("random", [0.5, 0.25, 0.25]), chains, per="chain")
    assert set(found.values()) == {"train", "valid", "test"}
    assert all(len({found[f"f_{i}_{chain}"] for chain in "ABC"}) == 1 for i in range(60))


# === splits by clusters ===


def families(rng, sizes, identity=0.8):
    found = []
    for number, size in enumerate(sizes):
        root = random_sequence(rng, int(rng.integers(60, 120)))
        found += [structure(f"f{number}m{i}", mutated(rng, root, identity)) for i in range(size)]
    return found


@pytest.mark.parametrize("sizes, fractions", [
    ([9, 7, 5, 4, 3, 2, 2, 1, 1, 1, 1, 1, 1], [0.8, 0.1, 0.1]), ([12, 12, 12], [0.4, 0.3, 0.3]),
    ([1] * 30, [0.5, 0.25, 0.25]), ([20, 1, 1, 1, 1, 1], [0.5, 0, 0.5])])
def test_clusters_are_whole_and_fractions_met_within_one(sizes, fractions):
    structures = families(np.random.default_rng(9), sizes)
    found = by_name(SplitRule("cluster", fractions), structures)
    assert all(len({found[f"f{number}m{i}"] for i in range(size)}) == 1 for number, size in enumerate(sizes))
    for name, fraction in zip(("train", "valid", "test"), fractions, strict=True):
        assert abs(list(found.values()).count(name) - fraction * len(structures)) < max(sizes)


def test_cluster_splits_depend_on_names_and_seed_alone():
    structures = families(np.random.default_rng(10), [5, 4, 3, 2, 2, 2, 1, 1, 1, 1, 1])
    found = [by_name(SplitRule("cluster", [0.5, 0.25, 0.25], seed), order)
             for seed, order in ((0, structures), (0, structures[::-1]), (1, structures))]
    assert found[0] == found[1] != found[2]


def assert_apart(compare, splits, sequences, identity, limit=None):
    """No pair across train and test is similar, by another program."""
    pairs = list(itertools.product(splits["train"], splits["test"]))
    if limit and len(pairs) > limit:
        pairs = [pairs[i] for i in np.random.default_rng(11).choice(len(pairs), limit, replace=False)]
    for one, other in pairs:
        one, other = sequences[one], sequences[other]
        score, known = compare(one, other)
        enough = max(known) / min(len(one), len(other)) >= identity
        assert not (enough and 0.041 * len(one) * len(other) * np.exp(-0.267 * score) <= 1e-4)


def test_nothing_in_test_is_similar_to_training(biotite):
    """Of families of 30 to 70 % identity, checked by another program; a random split of them fails the same check."""
    rng = np.random.default_rng(12)
    roots = [random_sequence(rng, int(rng.integers(60, 110))) for _ in range(8)]
    sequences = [mutated(rng, root, rng.uniform(0.3, 0.7)) for root in roots for _ in range(4)]
    structures = LoadedStructures([structure(f"s{i}", sequence) for i, sequence in enumerate(sequences)])
    for identity in (0.3, 0.5):
        splits = SplitRule("cluster", [0.6, 0.2, 0.2], identity=identity).assign(structures, verbose=0)
        assert_apart(biotite, splits, sequences, identity)
    with pytest.raises(AssertionError):
        assert_apart(biotite, SplitRule("random", [0.6, 0.2, 0.2]).assign(structures, verbose=0), sequences, 0.3)


def test_nothing_in_test_is_similar_to_training_among_real_chains(biotite, shared_data):
    """Of 250 chains, of which many are relatives: 400 pairs by another program."""
    csv.field_size_limit(10 ** 8)
    with open(os.path.join(shared_data, "manifest.tsv"), newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["structure"].startswith("structures/")]
    sequences = [types(row["sequence"]) for row in rows[::11]]
    structures = LoadedStructures([structure(f"s{i}", sequence) for i, sequence in enumerate(sequences)])
    splits = SplitRule("cluster").assign(structures, verbose=0)
    assert_apart(biotite, splits, sequences, 0.3, limit=400)


# === as arguments of the dataset ===


@pytest.mark.parametrize("split", ["random", "cluster"])
def test_files_and_stores_split_alike(split, tmp_path):
    store = os.path.join(tmp_path, "bundled.store")
    prepare([bundled_path()], store, Recipe(), workers=1, verbose=0)
    rule = dict(split=split, split_fractions=[0.6, 0.2, 0.2], split_seed=5, verbose=0)
    found = []
    for dataset in (StructureFolder(bundled_path(), **rule), StructureFolder(store, **rule),
                    StructureFolder(TABLE, "class", split_column=None, store=store, **rule)):
        assert dataset.split_names == ["train", "valid", "test"]
        found.append({dataset.names[i]: name for name, part in zip(dataset.split_names, dataset.split(), strict=True)
                      for i in part.indices})
    assert found[0] == found[1] == found[2] and len(found[0]) == len(bundled_structures())


def test_the_configuration_holds_the_split():
    dataset = StructureFolder(bundled_path(), split="random", split_fractions=[0.5, 0, 0.5], split_seed=2, verbose=0)
    again = type(dataset).load_config_dict(dataset.config_dict())
    assert again._splits == dataset._splits and list(again._splits) == ["train", "test"]


@pytest.mark.parametrize("arguments, message", [
    (dict(split="ramdom"), "split should be `random`, `cluster`, or null .*, but found `ramdom`"),
    (dict(split="random"), "row 2, column `split`: it says `valid`, but split is `random`; leave .* split_column"),
    (dict(split="random", split_fractions=[0.8, 0.1, 0.2]), r"should sum to 1, but \[0.8, 0.1, 0.2\] sum to 1.1"),
    (dict(split="random", split_fractions=[0.9, 0.1]), "split_fractions should be three numbers"),
    (dict(split="random", split_fractions=[0, 0.5, 0.5]), "the fractions of train .more than 0., valid and test"),
    (dict(split="random", split_fractions=[1.2, -0.1, -0.1]), "split_fractions should be three numbers"),
    (dict(split="random", split_fractions=0.8), "split_fractions should be three numbers.*found `0.8`"),
    (dict(split="random", split_seed=0.5), "split_seed should be a whole number, but found `0.5`"),
    (dict(split="cluster", identity=30), "identity should be over 0 and at most 1, .* but found `30`"),
    (dict(split="random", identity=0.5), "identity is 0.5, but split is `random`, which does not look at sequences"),
    (dict(identity=0.5), "identity is 0.5, but split is not given"),
    (dict(split_fractions=[0.5, 0.25, 0.25]), "split_fractions is .*, but split is not given"),
    (dict(split_seed=1), "split_seed is 1, but split is not given, so nothing is split by it"),
])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        StructureFolder(TABLE, **arguments)


def test_an_empty_split_is_an_error():
    rng = np.random.default_rng(13)
    alike = LoadedStructures(families(rng, [6]))
    message = ("split is `cluster`, but nothing falls into `valid`, `test`: 6 structures in 1 clusters at 30% sequence "
               "identity, the largest of 6. Give other split_fractions, another split_seed, a higher identity")
    with pytest.raises(ValueError, match=message):
        SplitRule("cluster").assign(alike, verbose=0)
    with pytest.raises(ValueError, match="split is `random`, but nothing falls into .*: 1 structures. Give other"):
        SplitRule("random").assign(LoadedStructures(many(1)), verbose=0)
