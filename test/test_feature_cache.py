"""Cached residue features: equal to the live ones, found by sequence, and refused wherever they would be others."""

import copy
import json
import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.datasets import features as making
from gearnet_plugin.datasets.feature_cache import FeatureCache
from gearnet_plugin.datasets.features import cache_features, fingerprint, residue_codes
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder, SequenceStructureFusion
from gearnet_plugin.structures.bundled import bundled_structures
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.tasks import MaskedResiduePrediction, MultiviewContrastive
from proteins import as_stock, awkward, bundled, chain, construction
from sequence_models import SEQUENCE_MODELS, sequence_model, tiny_esm
from torchdrug import data, layers, models
from torchdrug.layers import geometry


def graph_of(*proteins):
    return construction()(ResidueProtein.pack(proteins))


def encode(model, graph):
    return model(graph, graph.node_feature.float())


def fused(sequence, path=None, fusion="series", seed=4):
    torch.manual_seed(seed)
    structure = GearNetEncoder(16 if fusion == "series" else 21, [8, 8], 7, batch_norm=True)
    return SequenceStructureFusion(sequence, structure, fusion, freeze_sequence=True, features=path)


@pytest.fixture(scope="module")
def proteins():
    """Real proteins, and awkward ones of which one has an unknown residue."""
    return bundled(3, 150) + awkward()


@pytest.fixture(scope="module")
def model():
    return sequence_model("ESM").eval()


@pytest.fixture(scope="module")
def path(model, proteins, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "esm"
    cache_features(model, proteins, path, verbose=0)
    return os.fspath(path)


@pytest.fixture
def copied(path, tmp_path):
    """A copy of the cache, to be damaged."""
    import shutil

    return shutil.copytree(path, tmp_path / "copy")


# === equal to live ===


@pytest.mark.parametrize("fusion", ["series", "parallel"])
@pytest.mark.parametrize("name", SEQUENCE_MODELS)
def test_cached_is_live(name, fusion, proteins, tmp_path):
    """In float32 the same bits, outputs and gradients of the encoder behind, for every protein alone."""
    sequence = sequence_model(name)
    cache_features(sequence, proteins, tmp_path / "cache", verbose=0)
    assert all(module.training for module in sequence.modules())
    live, cached = fused(sequence, None, fusion), fused(sequence, tmp_path / "cache", fusion)
    for protein in proteins:
        graph = graph_of(protein)
        outputs = [encode(m.eval(), graph) for m in (live, cached)]
        assert all(torch.equal(outputs[0][key], outputs[1][key]) for key in outputs[0])
    for output in outputs:
        output["node_feature"].sum().backward()
    for a, b in zip(live.parameters(), cached.parameters()):
        assert a.grad is None and b.grad is None or torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("name", ["ESM", "ProteinBERT"])
def test_a_batch_is_as_good_as_its_proteins(name, proteins, tmp_path):
    """Models that do not look at padding: cached alone, equal in a batch to rounding."""
    sequence = sequence_model(name)
    cache_features(sequence, proteins, tmp_path / "cache", verbose=0)
    graph = graph_of(*proteins)
    a, b = (encode(fused(sequence, p).eval(), graph) for p in (None, tmp_path / "cache"))
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["ProteinLSTM", "ProteinConvolutionalNetwork", "ProteinResNet"])
def test_others_look_at_padding(name):
    """Why each protein is cached alone: TorchDrug's features of these depend on the longest protein of the batch."""
    sequence = sequence_model(name).eval()
    alone = encode(sequence, graph_of(chain(20)))["residue_feature"]
    batched = encode(sequence, graph_of(chain(20), chain(60, 1)))["residue_feature"][:20]
    assert (alone - batched).abs().max() > 1e-2


def test_dropout_is_off(tmp_path):
    """A model that is in training mode is run in eval mode, and is in training mode again afterwards."""
    torch.manual_seed(0)
    sequence = models.ProteinResNet(21, [16, 16], dropout=0.5)
    sequence.readout.eval()
    cache = cache_features(sequence, [chain(30)], tmp_path / "cache", verbose=0)
    assert sequence.training and sequence.dropout.training and not sequence.readout.training
    graph = graph_of(chain(30))
    live = encode(sequence.eval(), graph)["residue_feature"].detach()
    assert np.array_equal(cache.get(residue_codes(graph)[0], "it")[0], live.numpy())


def test_half_precision(model, proteins, tmp_path):
    """float16 takes half the room and is right to its precision."""
    half = cache_features(model, proteins, tmp_path / "half", dtype="float16", verbose=0)
    graph = graph_of(proteins[0])
    live = encode(model, graph)["residue_feature"]
    (codes,) = residue_codes(graph)
    residues, protein = half.get(codes, "it")
    assert residues.dtype == protein.dtype == np.float16
    error = np.abs(residues.astype(np.float32) - live.detach().numpy())
    assert 0 < error.max() and (error <= 2.0**-11 * live.abs().max().item()).all()
    output = encode(fused(model, tmp_path / "half").eval(), graph)
    assert output["node_feature"].dtype == torch.float32


def test_the_sequence_model_does_not_run(model, proteins, path, monkeypatch):
    """And float64 input gives float64 features, since the weights are the same numbers."""
    cached = fused(copy.deepcopy(model), path)
    monkeypatch.setattr(type(model), "forward", None)
    graph = graph_of(proteins[4], proteins[0])
    encode(cached, graph)
    double = cached.double()(graph, graph.node_feature.double())
    assert double["graph_feature"].dtype == torch.float64


# === what is held ===


def test_sequences_are_held_once(model, path, proteins, tmp_path):
    """Equal sequences share an entry, whatever their structure; an unknown residue is none of the known ones."""
    protein = chain(30)
    moved = ResidueProtein.from_arrays(protein.node_position + 5, protein.residue_type, chain_id=[2] * 30)
    types = protein.residue_type.clone()
    types[3] = 20
    glycine = types.masked_fill(types == 20, 0)
    variants = [protein, moved] + [ResidueProtein.from_arrays(protein.node_position, t) for t in (types, glycine)]
    cache = cache_features(model, variants, tmp_path / "cache", verbose=0)
    assert len(cache) == 3 and cache.num_residue == 90
    assert len(FeatureCache(path)) == len(proteins)
    codes = residue_codes(ResidueProtein.pack(variants))
    assert codes[2][3] == 20 and codes[3][3] == 0


def test_stock_proteins_find_theirs():
    """TorchDrug's proteins say in their features which residues are unknown."""
    packed = ResidueProtein.pack(awkward())
    for ours, stock in zip(residue_codes(packed), residue_codes(as_stock(packed)), strict=True):
        assert np.array_equal(ours, stock)
    assert 20 in residue_codes(as_stock(packed))[4]


def test_stock_proteins_can_be_cached(model, path, tmp_path):
    """Under the same keys, and without residue features too, for models that look at types alone."""
    stock = as_stock(ResidueProtein.pack(awkward()))
    cache = cache_features(model, [stock[i] for i in range(6)], tmp_path / "stock", verbose=0)
    assert set(cache._keys.tolist()) < set(FeatureCache(path)._keys.tolist())
    bare = data.Protein.from_sequence("AGSK", atom_feature=None, bond_feature=None, residue_feature=None)
    assert len(cache_features(model, [bare], tmp_path / "bare", verbose=0)) == 1


def test_datasets_and_stores_are_taken(model, tmp_path):
    """The same entries from files, from a dataset with transform and from a store; names are the dataset's."""
    files = [str(file) for file in bundled_structures()[:3]]
    dataset = StructureFolder(files, verbose=0)
    prepare(files, tmp_path / "my.store", Recipe(), workers=1, verbose=0)
    caches = [
        cache_features(model, source, tmp_path / f"{i}", verbose=0)
        for i, source in enumerate([dataset, tmp_path / "my.store", iter([dataset[i] for i in range(len(dataset))])])
    ]
    assert len({tuple(sorted(cache._keys.tolist())) for cache in caches}) == 1
    for cache in caches:
        cache.verify()
    model = copy.deepcopy(model)
    model.max_input_length = 10
    with pytest.raises(ValueError, match=rf"protein 0 \(`{dataset.names[0]}`\) has \d+ residues, .* at most 10.*Trunc"):
        cache_features(model, dataset, tmp_path / "long", verbose=0)
    assert not (tmp_path / "long").exists()


def test_it_is_read_lazily(path):
    """Arrays are memory maps, and copies and other processes open the folder instead of carrying it along."""
    cache = FeatureCache(path)
    assert isinstance(cache._residues, np.memmap) and isinstance(cache._sequences, np.memmap)
    assert len(pickle.dumps(cache)) < 500
    assert copy.deepcopy(cache).path == cache.path
    with open(os.path.join(path, "index.json")) as file:
        index = json.load(file)
    assert index["model"] == "models.ESM" and index["width"] == 16 and index["dtype"] == "float32"
    # nothing in it can run code
    np.load(os.path.join(path, "entries.npy"), allow_pickle=False)


# === what is not there ===


def part(protein, start, stop):
    return ResidueProtein.from_arrays(protein.node_position[start:stop], protein.residue_type[start:stop])


def test_a_crop_is_refused_and_a_whole_protein_is_not(model, path):
    """A stretch of a cached protein is told as such, with its place."""
    cached = fused(model, path)
    whole = awkward()[0]
    encode(cached, graph_of(whole, awkward()[2]))
    match = (
        r"protein 1 of the batch \(30 residues, .*\) has no features in `.*`: it is residues 11 to 40 of a cached "
        r"protein of 80. The cache serves whole proteins only.*Leave out `features`"
    )
    with pytest.raises(ValueError, match=match):
        encode(cached, graph_of(whole, part(whole, 10, 40)))


def test_multiview_contrast_on_crops_is_refused(model, path, proteins):
    """Unless proteins are so short that their crop is all of them, and then it is right."""
    task = MultiviewContrastive(
        fused(model, path),
        [geometry.SubsequenceNode(50)],
        [geometry.IdentityNode()],
        graph_construction_model=construction(),
    )
    loss, _ = task.train()({"graph": ResidueProtein.pack([awkward()[4], awkward()[3]])})
    assert torch.isfinite(loss)
    with pytest.raises(ValueError, match="of a cached protein of .*as in multiview contrast"):
        task({"graph": ResidueProtein.pack([awkward()[0], awkward()[2]])})


def test_another_sequence_is_told_where_it_differs(model, path):
    whole = awkward()[0]
    types = whole.residue_type.clone()
    types[6] = (types[6] + 1) % 20
    other = ResidueProtein.from_arrays(whole.node_position, types)
    with pytest.raises(ValueError, match=r"differs from that of the cached .* at residue 7: (\w) here, (?!\1)\w there"):
        encode(fused(model, path), graph_of(other))


def test_an_unknown_protein_is_told_with_the_command(model, path):
    with pytest.raises(ValueError, match=r"none of the 9 cached .*cache_features\(model.sequence_model, dataset, "):
        encode(fused(model, path), graph_of(chain(44, 77)))


def test_sequences_that_touch_in_the_file_are_not_one(path):
    """The end of one entry and the beginning of the next make no crop of either."""
    cache = FeatureCache(path)
    starts = np.sort(cache._entries["start"])
    across = np.array(cache._sequences[starts[1] - 10 : starts[1] + 10])
    with pytest.raises(ValueError, match="none of the 9 cached sequences"):
        cache.get(across, "it")


def test_masked_residues_are_refused(model, path):
    """A residue masked by an objective has no features of its own in a cache of unmasked ones."""
    task = MaskedResiduePrediction(fused(model, path), graph_construction_model=construction())
    with pytest.raises(ValueError, match="residues of this batch were masked .*Leave out `features`"):
        task({"graph": ResidueProtein.pack([awkward()[0]])})


# === another model ===


def test_features_of_another_model_are_refused(path, proteins):
    """By weights and by arguments; equal ones anywhere else are the same model, and weights may come later."""
    graph = graph_of(proteins[0])
    other = fused(sequence_model("ESM", seed=1), path)
    with pytest.raises(ValueError, match="made by another model: models.ESM with fingerprint .* is models.ESM with"):
        encode(other, graph)
    other.sequence_model.load_state_dict(sequence_model("ESM").state_dict())
    encode(other, graph)
    state = fused(sequence_model("ESM", seed=1)).state_dict()
    other.load_state_dict(state)
    with pytest.raises(ValueError, match="Load the weights they were made with"):
        encode(other, graph)
    assert fingerprint(sequence_model("ESM")) == fingerprint(sequence_model("ESM").double().eval())
    torch.manual_seed(0)
    assert fingerprint(tiny_esm("sum")) != fingerprint(sequence_model("ESM"))
    with pytest.raises(
        ValueError, match="16 wide for residues and 16 for proteins, but the sequence model's are 16 and 8"
    ):
        fused(sequence_model("ProteinLSTM"), path)


# === damage ===


def damage(folder, name, place=-1):
    with open(folder / name, "r+b") as file:
        content = bytearray(file.read())
        content[place] ^= 1
        file.seek(0)
        file.write(content)


@pytest.mark.parametrize("name", ["residues.bin", "proteins.bin", "sequences.bin"])
def test_a_flipped_bit_is_found_when_read(name, copied):
    """Only what is damaged is refused."""
    damage(copied, name)
    cache = FeatureCache(copied)
    with pytest.raises(ValueError, match=r"cached features of \w+ \(3 residues\) in .* are damaged; remove .* anew"):
        cache.verify()


@pytest.mark.parametrize(
    "name, do, match",
    [
        ("entries.npy", lambda path: damage(path.parent, path.name), "`entries.npy` of .* is missing or damaged"),
        ("entries.npy", os.remove, "`entries.npy` of .* is missing or damaged"),
        ("residues.bin", lambda path: os.truncate(path, 100), "`residues.bin` of .* is missing or damaged"),
        ("sequences.bin", os.remove, "`sequences.bin` of .* is missing or damaged"),
        ("index.json", os.remove, "holds no cached features: its index.json is missing"),
        ("index.json", lambda path: path.write_text('{"format": "other"}'), "is missing or of another kind"),
        (
            "index.json",
            lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 2')),
            "have version 2, and this version of gearnet-plugin reads 1",
        ),
        (
            "index.json",
            lambda path: path.write_text(path.read_text().replace('"width": 16', '"width": "16"')),
            "`index.json` of .* is missing or damaged",
        ),
        (
            "index.json",
            lambda path: path.write_text(path.read_text().replace('"float32"', '"object"')),
            "`index.json` of .* is missing or damaged",
        ),
    ],
)
def test_damaged_folders_are_told(name, do, match, copied):
    do(copied / name)
    with pytest.raises(ValueError, match=match):
        FeatureCache(copied)


# === making ===


class Odd(nn.Module):
    """A sequence model that gives what it is told to."""

    output_dim = 4

    def __init__(self, value=1.0, less=0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.less = less
        self.readout = layers.MeanReadout("residue")

    def forward(self, graph, input, all_loss=None, metric=None):
        hidden = self.value.expand(int(graph.num_residue), 4)
        return {"graph_feature": self.readout(graph, hidden), "residue_feature": hidden[self.less :]}


@pytest.mark.parametrize(
    "model, dtype, match",
    [
        (Odd(float("nan")), "float32", r"no finite numbers for protein 0"),
        (Odd(1e6), "float16", r"features of protein 0 reach 1e\+06, beyond float16; take dtype `float32`"),
        (Odd(less=1), "float32", "gives 9 residue features for protein 0, which has 10 residues"),
        (Odd(), "bfloat16", "dtype should be `float16` or `float32`, but found `bfloat16`"),
    ],
)
def test_what_cannot_be_cached_is_told_and_nothing_is_left(model, dtype, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        cache_features(model, [chain(10)], tmp_path / "cache", dtype=dtype, verbose=0)
    assert os.listdir(tmp_path) == []


def test_wrong_sources_are_told(tmp_path):
    with pytest.raises(ValueError, match="there are no proteins"):
        cache_features(Odd(), [], tmp_path / "a", verbose=0)
    with pytest.raises(ValueError, match="`/nowhere` is no store"):
        cache_features(Odd(), "/nowhere", tmp_path / "a", verbose=0)
    with pytest.raises(ValueError, match="item 0 should be a protein, .* but found int"):
        cache_features(Odd(), [1], tmp_path / "a", verbose=0)
    cache_features(Odd(), [chain(5)], tmp_path / "a", verbose=0)
    with pytest.raises(ValueError, match="there is something at `.*a` already"):
        cache_features(Odd(), [chain(5)], tmp_path / "a", verbose=0)
    assert os.listdir(tmp_path) == ["a"]


def test_a_break_in_between_leaves_nothing(tmp_path, monkeypatch):
    """The folder appears whole or not at all."""

    def fail(*args):
        assert os.listdir(tmp_path) and not (tmp_path / "cache").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "write_index", fail)
    with pytest.raises(KeyboardInterrupt):
        cache_features(Odd(), [chain(5)], tmp_path / "cache", verbose=0)
    assert os.listdir(tmp_path) == []
