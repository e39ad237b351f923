"""Keyed random draws: the same for a protein wherever it is, uniform, independent; sampling; which epoch counts."""

import copy
import zlib

import numpy as np
import pytest
import torch

from gearnet_plugin.engine.recorder import ProgressMeter, watch
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.graphs.draws import GlobalDraws, StructureDraws, sample, structure_keys
from gearnet_plugin.tasks.drawing import DrawingTask
from proteins import as_stock, awkward, bundled, chain
from torchdrug import data
from torchdrug.layers import functional


def pack(proteins):
    return ResidueProtein.pack(proteins)


# === keys ===

WORD = 2**64 - 1


def mix(word):
    """SplitMix64's mixing function as published, on Python's whole numbers."""
    word &= WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)


def signed(word):
    return word - 2**64 if word >= 2**63 else word


def key_by_definition(protein):
    """The key of one protein, residue by residue."""
    step = 0x9E3779B97F4A7C15
    total = mix(int(protein.num_residue) * step)
    bits = protein.node_position.numpy().view(np.int32).tolist()
    for i, (kind, (x, y, z)) in enumerate(zip(protein.residue_type.tolist(), bits), 1):
        total += mix(mix(kind + 1) + i * step) + mix(mix(mix((x << 32) + y) ^ (z & WORD)) + i * step)
    return signed(mix(total))


def test_key_and_numbers_are_the_definition():
    """Keys and numbers equal those computed one by one with Python's whole numbers."""
    proteins = awkward()
    keys = structure_keys(pack(proteins)).tolist()
    assert keys == [key_by_definition(protein) for protein in proteins]
    step, context = 0x9E3779B97F4A7C15, 0
    for word in (7, -1, zlib.crc32(b"crop")):
        context = mix((context + step & WORD) ^ (word & WORD))
    state = mix((keys[2] & WORD) ^ context)
    expected = [(mix(state + i * step) >> 40) / 2**24 for i in range(1, 6)]
    assert StructureDraws(7, -1).uniform(pack(proteins[2:3]), "crop", torch.tensor([5])).tolist() == expected


def test_mixing_function_is_the_published_one():
    """The first outputs of SplitMix64 from state 1234567, as its reference implementation prints them."""
    step = 0x9E3779B97F4A7C15
    assert [mix(1234567 + i * step) for i in (1, 2, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def changed(protein, name, index, value):
    copied = protein.clone()
    getattr(copied, name)[index] = value
    return copied


def test_any_change_makes_another_key():
    """One unit in the last place, one residue type, an exchange, a residue less: every key is another."""
    protein = chain(40, seed=1)
    position = protein.node_position
    others = [
        changed(protein, "node_position", (i, axis), torch.nextafter(position[i, axis], torch.tensor(1e9)))
        for i in (0, 17, 39)
        for axis in range(3)
    ]
    others += [changed(protein, "residue_type", i, (int(protein.residue_type[i]) + 1) % 20) for i in range(40)]
    others += [
        changed(protein, "node_position", [3, 8], position[[8, 3]]),
        changed(protein, "node_position", 5, position[5][[1, 0, 2]]),
        changed(protein, "node_position", slice(None), position.flip(0)),
        ResidueProtein.from_arrays(position[:39], protein.residue_type[:39]),
        ResidueProtein.from_arrays(position[1:], protein.residue_type[1:]),
    ]
    keys = structure_keys(pack([protein] + others)).tolist()
    assert len(set(keys)) == len(keys)
    assert keys[0] == int(structure_keys(pack([protein.clone()])))


def singles(position):
    """As many proteins of one residue as there are positions."""
    graph = pack([ResidueProtein.from_arrays(position, torch.full((len(position),), 3))])
    graph._set_sizes(*[torch.ones(len(position), dtype=torch.long)] * 2)
    return graph


def test_keys_do_not_collide_or_follow_a_pattern():
    """20,000 proteins of one residue on a grid have as many keys, and each bit is set in half of them."""
    count = 20000
    grid = torch.arange(count)
    position = torch.stack([grid % 20, grid // 20 % 50, grid // 1000], dim=-1).float()
    graph = singles(position)
    keys = structure_keys(graph)
    assert len(keys.unique()) == count
    for bit in range(64):
        share = ((keys >> bit) & 1).double().mean()
        assert abs(float(share) - 0.5) < 5 * 0.5 / count**0.5, "bit %d is set in %.3f" % (bit, share)


def test_minus_zero_is_zero():
    """-0.0 Å is the same place as 0.0 Å."""
    zero, minus = (ResidueProtein.from_arrays([[value, 1.0, 2.0]], [4]) for value in (0.0, -0.0))
    assert torch.equal(structure_keys(pack([zero])), structure_keys(pack([minus])))


def test_other_graphs_are_named():
    """A graph without residues cannot be keyed, and the message says what can be done."""
    graph = data.Graph.pack([data.Graph([[0, 1]], num_node=2)])
    with pytest.raises(ValueError, match="need proteins with `residue_type`.*draw by `global`"):
        structure_keys(graph)


# === the same wherever a protein is ===


def test_independent_of_batch_order_and_class():
    """A protein draws the same alone, among others, in another order, and as TorchDrug's own class."""
    proteins, draws = awkward() + bundled(2), StructureDraws(3, 5)
    counts = torch.tensor([4, 0, 7, 1, 2, 30, 5, 6])
    together = draws.uniform(pack(proteins), "a", counts).split(counts.tolist())
    backward = draws.uniform(pack(proteins[::-1]), "a", counts.flip(0)).split(counts.flip(0).tolist())[::-1]
    stock = draws.uniform(as_stock(pack(proteins)), "a", counts).split(counts.tolist())
    for i, protein in enumerate(proteins):
        alone = draws.uniform(pack([protein]), "a", counts[i : i + 1])
        assert torch.equal(alone, together[i])
        assert torch.equal(alone, backward[i])
        assert torch.equal(alone, stock[i])
        # the first of many are those of few
        more = draws.uniform(pack([protein]), "a", counts[i : i + 1] + 3)
        assert torch.equal(more[: len(alone)], alone)
    choice = draws.choose(pack(proteins), list("abc"), "f", per="protein")
    assert torch.equal(choice.flip(0), draws.choose(pack(proteins[::-1]), list("abc"), "f", per="protein"))
    for seed in range(20):
        draws.seed = seed
        assert draws.choose(pack(proteins), list("abc"), "f") == draws.choose(pack(proteins[::-1]), list("abc"), "f")


def test_independent_of_loader_workers_and_global_seeds():
    """Items that come through workers of a loader draw what those of the main process draw."""
    items = [{"graph": protein} for protein in awkward()]
    found = []
    for workers in (0, 2):
        torch.manual_seed(workers)
        loader = data.DataLoader(items, batch_size=2, num_workers=workers)
        found.append(torch.cat([StructureDraws(1).uniform(batch["graph"], "a") for batch in loader]))
    assert torch.equal(*found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_independent_of_device():
    """A GPU draws the same bits."""
    graph = pack(awkward())
    counts = torch.full((6,), 1000)
    assert torch.equal(structure_keys(graph.cuda()).cpu(), structure_keys(graph))
    draws = StructureDraws(1, 2)
    assert torch.equal(draws.uniform(graph.cuda(), "a", counts.cuda()).cpu(), draws.uniform(graph, "a", counts))
    for replacement in (True, False):
        assert torch.equal(
            sample(draws, graph.cuda(), graph.num_residues.cuda(), 5, "a", replacement).cpu(),
            sample(draws, graph, graph.num_residues, 5, "a", replacement),
        )


# === distribution ===


def is_uniform(numbers):
    """
    Chi-square over 256 bins within five standard deviations of its mean, likewise mean and variance, and the last
    eight of the 24 bits.
    """
    numbers = numbers.double()
    count = len(numbers)

    def chi(counts):
        expected = count / len(counts)
        return float(((counts - expected) ** 2 / expected).sum())

    high = (numbers * 256).long().bincount(minlength=256).double()
    low = ((numbers * 2**24).long() % 256).bincount(minlength=256).double()
    bound = 255 + 5 * (2 * 255) ** 0.5
    lower = 255 - 5 * (2 * 255) ** 0.5
    mean = abs(float(numbers.mean()) - 0.5) < 5 * (1 / 12 / count) ** 0.5
    variance = abs(float(numbers.var()) - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    return lower < chi(high) < bound and lower < chi(low) < bound and mean and variance


def independent(first, second):
    """Chi-square of the joint distribution over 16 x 16 bins, and the correlation, within five deviations."""
    count = len(first)
    joint = ((first * 16).long() * 16 + (second * 16).long()).bincount(minlength=256).double()
    chi = float(((joint - count / 256) ** 2 / (count / 256)).sum())
    correlation = float(torch.corrcoef(torch.stack([first, second]).double())[0, 1])
    return abs(chi - 255) < 5 * (2 * 255) ** 0.5 and abs(correlation) < 5 / count**0.5


COUNT = 1 << 16


def along(what):
    """Many numbers along one of the things that a number depends on, all else the same."""
    graph, draws = pack([chain(5)]), StructureDraws()
    if what == "index":
        return draws.uniform(graph, "a", torch.tensor([COUNT]))
    if what == "protein":
        position = torch.arange(COUNT).float()[:, None] * torch.tensor([0.001, 0.0, 0.0])
        return draws.uniform(singles(position), "a")
    # 32 numbers of 2,048 values each: the key is the same
    found = []
    for value in range(COUNT // 32):
        draws = {"seed": StructureDraws(value), "epoch": StructureDraws(0, value)}.get(what, draws)
        stream = "stream %d" % value if what == "stream" else "a"
        found.append(draws.uniform(graph, stream, torch.tensor([32])))
    return torch.cat(found)


@pytest.mark.parametrize("what", ["index", "protein", "seed", "epoch", "stream"])
def test_uniform_and_independent(what):
    """65,536 numbers along each thing they depend on are uniform, and neighbours are independent."""
    numbers = along(what)
    assert numbers.dtype == torch.float32 and 0 <= float(numbers.min()) and float(numbers.max()) < 1
    assert is_uniform(numbers)
    far = 32 if what in ("seed", "epoch", "stream") else 1
    assert independent(numbers[:-far], numbers[far:])


def test_streams_epochs_and_seeds_are_independent():
    """Two streams, epochs or seeds of one protein share nothing; nor do (seed, epoch) and (epoch, seed)."""
    graph, counts = pack([chain(5)]), torch.tensor([COUNT])
    base = StructureDraws(1, 2).uniform(graph, "view 1: crop", counts)
    for draws, stream in [
        (StructureDraws(1, 2), "view 2: crop"),
        (StructureDraws(1, 3), "view 1: crop"),
        (StructureDraws(2, 2), "view 1: crop"),
        (StructureDraws(2, 1), "view 1: crop"),
        (StructureDraws(1, -1), "view 1: crop"),
    ]:
        other = draws.uniform(graph, stream, counts)
        assert independent(base, other)
        assert float((base == other).double().mean()) < 1e-3


def test_the_measures_see_what_is_wrong():
    """Counted numbers, a bias of 3 %, lost bits and a shifted copy are found out."""
    generator = torch.Generator().manual_seed(0)
    good = torch.rand(COUNT, generator=generator)
    assert is_uniform(good) and independent(good[1:], good[:-1])
    assert not is_uniform(torch.arange(COUNT) / COUNT)
    assert not is_uniform(good**1.03)
    assert not is_uniform((good * 2**16).floor() / 2**16)
    assert not independent(good, (good + 0.1) % 1)


def test_choices_are_even():
    """Over 1,000 epochs each of three functions is chosen for a batch, and for a protein, a third of the time."""
    graph, draws = pack(awkward()), StructureDraws()
    batch, protein = torch.zeros(3), torch.zeros(3)
    for epoch in range(1000):
        draws.epoch = epoch
        batch[draws.choose(graph, [0, 1, 2], "f")] += 1
        protein += draws.choose(graph, [0, 1, 2], "f", per="protein").bincount(minlength=3)
    for counts in (batch, protein):
        total = counts.sum()
        assert float(((counts - total / 3) ** 2 / (total / 3)).sum()) < 20  # 2 degrees: one in 20,000
    with pytest.raises(ValueError, match="per should be `batch` or `protein`, but found `residue`"):
        draws.choose(graph, [0, 1], "f", per="residue")
    with pytest.raises(ValueError, match="per should be `batch` or `protein`, but found `residue`"):
        GlobalDraws().choose(graph, [0, 1], "f", per="residue")


# === sampling ===


def test_sampling_is_stock_under_global_draws():
    """With torch's seed, picks are TorchDrug's ``variadic_sample``, and one uniform call is one ``torch.rand``."""
    graph, sizes = pack(awkward()), torch.tensor([5, 1, 70, 12, 9, 3])
    torch.manual_seed(4)
    found = sample(GlobalDraws(), graph, sizes, 17, "any")
    torch.manual_seed(4)
    assert torch.equal(found, functional.variadic_sample(torch.arange(100), sizes, 17).flatten())
    torch.manual_seed(4)
    assert torch.equal(GlobalDraws().uniform(graph, "any", sizes), _seeded(4, 100))
    assert torch.equal(_after(4, lambda: GlobalDraws().uniform(graph, "any")), _seeded(4, 6))


def _seeded(seed, count):
    torch.manual_seed(seed)
    return torch.rand(count)


def _after(seed, function):
    torch.manual_seed(seed)
    return function()


@pytest.mark.parametrize("draws", [StructureDraws(), GlobalDraws()])
@pytest.mark.parametrize("replacement", [True, False])
def test_picks_are_a_proteins_own(draws, replacement):
    """Each protein gives as many as asked, out of its own items; one without items gives none."""
    graph = pack(awkward())
    for sizes, number in [([5, 0, 40, 1, 0, 7], 6), ([0] * 6, 3), ([3, 4, 5, 6, 7, 0], [1, 2, 0, 6, 9, 4])]:
        sizes = torch.tensor(sizes)
        number = torch.as_tensor(number)
        picks = sample(draws, graph, sizes, number, "s", replacement)
        owner = torch.arange(6).repeat_interleave(sizes)[picks]
        expected = torch.where(sizes > 0, number, 0)
        if not replacement:
            expected = torch.minimum(expected, sizes)
            assert len(picks.unique()) == len(picks)
        assert torch.equal(owner.bincount(minlength=6), expected.expand(6))
        assert (torch.diff(owner) >= 0).all()


@pytest.mark.parametrize("replacement", [True, False])
def test_every_item_is_picked_equally_often(replacement):
    """Over 1,500 epochs the ten items of a protein are picked 4,500 times, evenly."""
    graph, draws, sizes = pack([chain(9, 1), chain(12, 2)]), StructureDraws(), torch.tensor([4, 10])
    counts = torch.zeros(14)
    for epoch in range(1500):
        draws.epoch = epoch
        counts += sample(draws, graph, sizes, 3, "s", replacement).bincount(minlength=14)
    assert counts[:4].sum() == counts[4:].sum() == 4500
    chi = float(((counts[4:] - 450) ** 2 / 450).sum())
    # without replacement picks of one epoch exclude each other, which makes counts more even: factor (10 - 3) / 9
    assert chi < 45 * (1 if replacement else 7 / 9), chi


def test_picks_do_not_depend_on_the_batch():
    """Picks of a protein are the same among others, with and without replacement."""
    proteins, draws = awkward(), StructureDraws(2, 9)
    graph = pack(proteins)
    first = graph.num_cum_residues - graph.num_residues
    for replacement in (True, False):
        picks = sample(draws, graph, graph.num_residues, 3, "s", replacement)
        for i, protein in enumerate(proteins):
            alone = pack([protein])
            own = picks[graph.residue2graph[picks] == i] - first[i]
            assert torch.equal(own, sample(draws, alone, alone.num_residues, 3, "s", replacement))


def test_the_largest_number_stays_inside():
    """The last representable number below 1 picks the last item, never the one after."""

    class Last:
        def uniform(self, graph, stream, counts=None):
            return torch.full((int(counts.sum()),), 1 - 2.0**-24)

    graph = pack([chain(3)])
    for size in (1, 2, 3, 4097, *range(2**24 - 3, 2**24 + 9), *range(2**30 - 200, 2**30 + 200, 7)):
        assert int(sample(Last(), graph, torch.tensor([size]), 1, "s")) < size


# === the epoch ===


class Task(DrawingTask):
    """A task that says what it drew."""

    def __init__(self, draws="structure", seed=None):
        super().__init__()
        self._set_draws(draws, seed)

    def forward(self, batch):
        value = self.begin_draws().uniform(batch["graph"], "a").mean()
        return value.clone().requires_grad_(), {"value": value}


def value(task, graph):
    return float(task({"graph": graph})[1]["value"])


def test_epochs_of_a_task():
    """The runner's epoch counts where it is told, else the batches of training; evaluation has its own."""
    graph, task = pack(awkward()), Task()
    untold = [value(task, graph) for _ in range(3)]
    assert len(set(untold)) == 3, "views never repeat"
    task.eval()
    evaluated = value(task, graph)
    assert evaluated == value(task, graph) and evaluated not in untold
    task.train()
    task.set_epoch(1)
    assert value(task, graph) == value(task, graph) == untold[1]
    task.set_epoch(4)
    later = value(task, graph)
    assert later not in untold
    assert value(task.eval(), graph) == evaluated
    assert value(copy.deepcopy(task).train(), graph) == later
    assert not task.state_dict()


def test_seeds_of_a_task():
    """The run's seed holds where the task has none; global draws ignore both and follow torch's seed."""
    graph = pack(awkward())
    without, own, told = Task(), Task(seed=5), Task()
    own.set_seed(9)
    told.set_seed(9)
    values = [value(task.eval(), graph) for task in (without, Task(seed=0), own, Task(seed=5), told, Task(seed=9))]
    assert values[0] == values[1] and values[2] == values[3] and values[4] == values[5]
    assert len(set(values)) == 3
    task = Task(draws="global")
    task.set_seed(3)
    task.set_epoch(3)
    assert _after(1, lambda: value(task, graph)) == float(_seeded(1, 6).mean())
    with pytest.raises(ValueError, match="draws should be `structure` or `global`, but found `stock`"):
        Task(draws="stock")


def test_the_meter_of_a_run_tells_the_epoch():
    """The meter that ``core.Engine`` loops over tells the task every epoch, also when training goes on later."""
    graph, task, meter = pack(awkward()), Task(), ProgressMeter()
    watching = watch(task, meter)
    told = [value(task, graph) for count in (2, 1) for _ in meter(count) for _ in range(2)]
    watching.remove()
    fresh = Task()
    expected = []
    for epoch in range(3):
        fresh.set_epoch(epoch)
        expected += [value(fresh, graph)] * 2
    assert told == expected and len(set(told)) == 3
