"""datasets.GeneOntologyStructures: the terms of a branch for the chains that all branches share."""
import csv
import functools
import os

import pytest
import torch

from deepfri_files import CHAINS, GO, GO_OF, KEPT, go_annotation, write_release, write_tables, zip_release, zip_splits
from gearnet_plugin.datasets.gene_ontology import GeneOntologyStructures
from test_enzyme_commission import export, same_where_stock_keeps, splits_of, stock, structures_of, targets_of
from torchdrug import core, data, datasets

BRANCHES = dict(zip(("MF", "BP", "CC"), GO, strict=True))
load = functools.partial(GeneOntologyStructures, num_worker=1, verbose=0, download=False)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The released folder, not zipped; its store is made."""
    folder = write_release(tmp_path_factory.mktemp("release") / "GeneOntology", "GO")
    load(os.path.dirname(folder))
    return folder


def terms_of(chain, branch):
    return set(filter(None, GO_OF[chain][list(BRANCHES).index(branch)].split(",")))


@pytest.mark.parametrize("cutoff", KEPT)
@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_and_cutoff(release, branch, cutoff):
    dataset = load(os.path.dirname(release), branch, cutoff)
    assert dataset.tasks == GO[BRANCHES[branch]] and dataset.branch == branch
    assert splits_of(dataset) == {**{split: sorted(chains) for split, chains in CHAINS.items()},
                                  "test": sorted(KEPT[cutoff])}
    assert targets_of(dataset) == {chain: terms_of(chain, branch) for chain in dataset.chains}
    assert dataset.drops == []


def test_chains_without_a_term_count(release):
    """As TorchDrug has it: f1_max and the others average over them."""
    dataset = load(os.path.dirname(release), "CC")
    bare = [chain for chain in dataset.chains if not terms_of(chain, "CC")]
    assert bare and f"without any label: {len(bare)}" in repr(dataset)
    item = dataset[dataset.chains.index(bare[0])]
    assert item["targets"].shape == (1,) and item["targets"].dtype == torch.float32 and not item["targets"].any()
    assert data.graph_collate(list(dataset))["targets"].shape == (len(dataset), 1)


def test_branches_share_a_store(release):
    stores = {load(os.path.dirname(release), branch).structures.store.path for branch in BRANCHES}
    assert stores == {os.path.join(os.path.dirname(release), "GeneOntologyStructures.store")}


def test_terms_have_names(release):
    dataset = load(os.path.dirname(release), "BP")
    assert dataset.descriptions == [f'"{term}", named' for term in dataset.tasks]


def test_published_tables_with_ones_own_structures(release, tmp_path):
    write_tables(tmp_path, "GO", "2019.06.18", lists=True)
    dataset = load(tmp_path, "MF", 0.5, structures=release)
    assert dataset.chains == load(os.path.dirname(release), "MF", 0.5).chains and dataset.drops == []


def test_release_is_what_torchdrug_asks_for():
    ours, stock = GeneOntologyStructures, datasets.GeneOntology
    assert (ours.url, ours.md5, list(ours.test_cutoffs)) == (stock.url, stock.md5, stock.test_cutoffs)
    assert list(ours.branches) == stock.branches


def test_missing_archive_says_what_to_fetch(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"zenodo.*GeneOntology.zip.* put it at `.*GeneOntology.zip`"):
        load(tmp_path)


@pytest.mark.parametrize("arguments, message", [
    (dict(branch="mf"), "unknown branch `mf`; allowed are `MF`, `BP`, `CC`"),
    (dict(test_cutoff=0.9), "unknown test_cutoff `0.9`; allowed are"),
])
def test_wrong_arguments(release, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(os.path.dirname(release), **arguments)


def test_wrong_row(tmp_path):
    write_release(tmp_path, "GO")
    path = tmp_path / "nrPDB-GO_annot.tsv"
    path.write_text(go_annotation().replace("1UBI-A\tGO:0000049", "1UBI-A\tGO:9999999"))
    with pytest.raises(ValueError, match=r"row 18, column `GO-terms \(molecular_function\)`: `GO:9999999` is none of"):
        load(tmp_path)
    assert "1UBI-A" in load(tmp_path, "BP").chains, "other branches can be used"


def test_configuration_builds_it(release):
    dataset = load(os.path.dirname(release), "BP", test_cutoff=0.4)
    config = dataset.config_dict()
    assert config["class"] == "datasets.GeneOntologyStructures" and config["branch"] == "BP"
    assert core.Configurable.load_config_dict(config).tasks == dataset.tasks


@pytest.mark.parametrize("branch", BRANCHES)
def test_torchdrug_has_the_same_items(tmp_path, branch):
    folder = write_release(tmp_path / "GeneOntology", "GO")
    zip_splits(folder)
    archive = zip_release(folder, tmp_path / "GeneOntology.zip")
    reference = stock(archive, tmp_path, datasets.GeneOntology, branch=branch, test_cutoff=0.7)
    dropped, altered = same_where_stock_keeps(load(tmp_path, branch, 0.7), reference)
    assert dropped == [] and list(altered) == ["1A8O-A"]  # its selenomethionines


def test_real_structures(shared_data, tmp_path):
    annotation = os.path.join(shared_data, "labels", "nrPDB-GO_derived_annot.tsv")
    with open(annotation, newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    labels = {row[0]: row[1:] for row in rows[13:]}
    only = structures_of(os.path.join(shared_data, "labels", "go_membership.tsv"), 3, labels)
    archive = export(shared_data, os.path.join(tmp_path, "GeneOntology"), only, "go")
    with open(os.path.join(shared_data, "original", "nrPDB-GO_2019.06.18_test.csv"), newline="") as file:
        cutoffs = list(csv.reader(file))[1:]
    for place, (branch, cutoff) in enumerate(zip(BRANCHES, (0.3, 0.5, 0.95), strict=True)):
        dataset = load(tmp_path, branch, cutoff)
        reference = stock(archive, tmp_path, datasets.GeneOntology, branch=branch, test_cutoff=cutoff)
        same_where_stock_keeps(dataset, reference)
        assert dataset.tasks == rows[4 * place + 1]
        assert targets_of(dataset) == {
            chain: set(filter(None, labels[chain][place].split(","))) for chain in dataset.chains}
        column = (0.3, 0.4, 0.5, 0.7, 0.95).index(cutoff) + 1
        assert not {row[0] for row in cutoffs if row[column] == "0"} & set(dataset.chains)
        for split, chains in splits_of(dataset).items():
            with open(os.path.join(shared_data, "original", f"nrPDB-GO_2019.06.18_{split}.txt")) as file:
                assert set(chains) <= set(file.read().split())
