"""The data rows of script/benchmark.py: reading, preparing, opening and collating structures."""

import contextlib
import gzip
import io
import os
import random
import shutil
import subprocess
import tempfile
import time

import numpy as np

from measure import compare, in_process, program, ratio

# stock keeps nothing but the structure, which is what it is fastest at
STOCK_FEATURES = {"atom_feature": None, "bond_feature": None}
OPEN = """
import gearnet_plugin
before = memory()
from gearnet_plugin.datasets import StructureFolder
start = time.perf_counter()
dataset = StructureFolder(sys.argv[1], verbose=0)
dataset[0]
seconds = time.perf_counter() - start
opened = memory()
if sys.argv[2] == "all":
    for i in range(len(dataset)): dataset[i]
after = memory()
print(json.dumps({"seconds": seconds, "before": before, "opened": opened, "after": after}), flush=True)
if sys.argv[2] == "wait": sys.stdin.read()
"""
READ_ALL = """
os.environ["GEARNET_PLUGIN_LIGHT"] = "1"
import gearnet_plugin
store = gearnet_plugin.StructureStore(sys.argv[1])
seen = [memory()["anonymous"]]
for i in range(len(store)):
    store.residues(i)
    if i % max(len(store) // 20, 1) == 0: seen.append(memory()["anonymous"])
print(json.dumps(seen))
"""
WRITE_ALL = """
os.environ["GEARNET_PLUGIN_LIGHT"] = "1"
import threading
from gearnet_plugin.structures.prepare import prepare
seen, stop = [memory()["anonymous"]], threading.Event()
def watch():
    while not stop.wait(0.5): seen.append(memory()["anonymous"])
thread = threading.Thread(target=watch); thread.start()
start = time.perf_counter()
try: prepare([sys.argv[1]], sys.argv[2], workers=1, verbose=0)
finally: stop.set(); thread.join()
print(json.dumps({"seconds": time.perf_counter() - start, "memory": seen}))
"""


def measure_data(quick=False, structures=None):
    """
    Yield the rows of the report, each a dict with ``what``, ``result`` (text), ``value``, and ``aim`` and ``met``
    where the design has one.

    Parameters:
        quick (bool, optional): smaller stores, fewer pairs
        structures (str, optional): folder with more PDB files to read
    """
    import torch

    import gearnet_plugin  # noqa: F401  TorchDrug can be imported only after it

    with tempfile.TemporaryDirectory(prefix="gearnet-benchmark-") as folder:
        # memory first: pages that this process maps too would not be counted as the measured one's own
        links = linked(os.path.join(folder, "links"), 2_000 if quick else 15_000)
        yield from preparing(links, folder, pairs=1 if quick else 5)
        yield from holding(os.path.join(folder, "store"))
        # as in the workers of a loader
        torch.set_num_threads(1)
        files = plain_files(os.path.join(folder, "pdb"), structures, 12 if quick else 60)
        yield from reading(files, pairs=3 if quick else 9)
        yield from collating(files, pairs=7 if quick else 31)
        yield from opening(files, os.path.join(folder, "store"), pairs=3 if quick else 11)
        yield from rounding(os.path.join(folder, "store"))
        if not quick:
            yield from growing(linked(os.path.join(folder, "many"), 100_000), folder)


def row(what, ratio_or_value, aim=None, unit="", at_most=False, **more):
    """A row; ``aim`` is the least the value should be, or the most with ``at_most``."""
    value = getattr(ratio_or_value, "median", ratio_or_value)
    text = str(ratio_or_value) if hasattr(ratio_or_value, "median") else f"{value:.3g}{unit}"
    result = {"what": what, "result": text, "value": value, **more}
    if hasattr(ratio_or_value, "median"):
        result["seconds"] = [ratio_or_value.first, ratio_or_value.second]
    if aim is not None:
        result.update(
            aim=f"{'<=' if at_most else '>='} {aim:g}{unit}", met=bool(value <= aim if at_most else value >= aim)
        )
    return result


# === files ===


def plain_files(folder, more, count):
    """Unzipped PDB files, as stock reads no others: the bundled ones, and some of a folder, of all lengths."""
    from gearnet_plugin.structures.bundled import bundled_structures

    sources = [path for path in map(str, bundled_structures()) if path.endswith((".pdb", ".pdb.gz"))]
    if more:
        names = sorted(name for name in os.listdir(more) if name.endswith((".pdb", ".pdb.gz")))
        sources += [os.path.join(more, name) for name in random.Random(0).sample(names, min(count, len(names)))]
    os.makedirs(folder)
    files = []
    for source in sources:
        path = os.path.join(folder, os.path.basename(source).removesuffix(".gz"))
        with (gzip.open if source.endswith(".gz") else open)(source, "rb") as fin, open(path, "wb") as fout:
            shutil.copyfileobj(fin, fout)
        files.append(path)
    return files[-count:]


def linked(folder, count):
    """A folder of many structure files: hard links to the bundled ones, so that their lengths are real."""
    from gearnet_plugin.structures.bundled import bundled_structures

    os.makedirs(folder)
    copies = os.path.join(folder, "..", os.path.basename(folder) + ".copies")
    os.makedirs(copies)
    files = []
    for path in bundled_structures():
        # not every file system links to where the package lies
        files.append(shutil.copy(path, copies))
    for number in range(count):
        source = files[number % len(files)]
        ending = os.path.basename(source).partition(".")[2]
        os.link(source, os.path.join(folder, f"s{number:06d}.{ending}"))
    return folder


def stock_read(path):
    """What a user of stock TorchDrug writes; RDKit's complaints about valences are kept off the screen."""
    from torchdrug import data

    with contextlib.redirect_stderr(io.StringIO()):
        return data.Protein.from_pdb(path, **STOCK_FEATURES)


# === rows ===


def reading(files, pairs):
    """A PDB file into arrays."""
    from gearnet_plugin.structures import read_structure

    usable = []
    for path in files:
        structure = read_structure(path)
        protein = try_stock(path)
        if protein is None:
            continue
        if same(protein, structure.positions):
            usable.append((len(structure), path))
    if len(usable) < len(files) / 2:
        raise SystemExit(f"only {len(usable)} of {len(files)} files are read alike by stock; nothing is reported")
    times = []
    for _ in range(pairs):
        # all files one way, then the other: alternating by file would measure cold caches
        theirs, ours = ([_seconds(call, path) for _, path in usable] for call in (stock_read, read_structure))
        times += zip(theirs, ours, strict=True)
    lengths = sorted(length for length, _ in usable)
    yield row(f"read a PDB file ({len(usable)} files, {lengths[0]} to {lengths[-1]} residues)", ratio(times), aim=40)
    yield row("files that stock reads otherwise or not at all, left out of it", len(files) - len(usable))


def collating(files, pairs):
    """96 items into a batch."""
    from gearnet_plugin.datasets import StructureFolder
    from gearnet_plugin.structures.prepare import Recipe, prepare
    from torchdrug import data, transforms

    view = transforms.ProteinView(view="residue")
    count = 96
    with tempfile.TemporaryDirectory() as folder:
        prepare(files, os.path.join(folder, "store"), Recipe(per="entry"), workers=1, verbose=0)
        dataset = StructureFolder(os.path.join(folder, "store"), verbose=0)
        places = {name: number for number, name in enumerate(dataset.names)}
        proteins, numbers = [], []
        for path in files:
            protein, number = try_stock(path), places.get(os.path.basename(path).removesuffix(".pdb"))
            if protein is not None and number is not None and same(protein, dataset[number]["graph"].node_position):
                proteins.append(protein)
                numbers.append(number)
        if len(proteins) < len(files) / 2:
            raise SystemExit("stock and ours do not hold the same proteins; nothing is reported")

        def stock_item(index):
            # as AlphaFoldDB and EnzymeCommission make an item, and their configs transform it
            return view({"graph": proteins[index % len(proteins)].clone()})

        def ours_item(index):
            return dataset[numbers[index % len(numbers)]]

        yield row(
            "96 items into a packed batch",
            compare(
                lambda: data.graph_collate([stock_item(i) for i in range(count)]),
                lambda: data.graph_collate([ours_item(i) for i in range(count)]),
                pairs,
            ),
            aim=15,
        )
        yield row(
            "one item",
            compare(lambda: [stock_item(i) for i in range(count)], lambda: [ours_item(i) for i in range(count)], pairs),
            aim=10,
        )


def preparing(links, folder, pairs):
    """A folder of files into a store: bytes, and what a second process brings."""
    from gearnet_plugin.structures import StructureStore, read_structure

    times, out = [], os.path.join(folder, "store")
    for pair in range(pairs):
        seconds = {}
        for workers in (1, 2) if pair % 2 else (2, 1):
            shutil.rmtree(out, ignore_errors=True)
            seconds[workers] = in_process(
                "from gearnet_plugin.structures.prepare import prepare\nstart = time.perf_counter()\n"
                "prepare([sys.argv[1]], sys.argv[2], workers=int(sys.argv[3]), verbose=0)\n"
                "print(json.dumps(time.perf_counter() - start))",
                links,
                out,
                workers,
                GEARNET_PLUGIN_LIGHT="1",
            )
        times.append((seconds[1], seconds[2]))
    store = StructureStore(out)
    residues = store.manifest.counts["residues"]
    for number in range(0, len(store), max(len(store) // 50, 1)):
        structure = store[number]
        if not np.array_equal(structure.positions, read_structure(structure.source).chains()[0].positions):
            raise SystemExit(f"{structure.name} is not in the store as it was read; nothing is reported")
    yield row(f"prepare {len(store)} files: two workers against one", ratio(times), aim=1.8)
    yield row("bytes a residue on disk", store.size / residues, aim=16, at_most=True)
    prepare_compact = in_process(
        "from gearnet_plugin.structures.prepare import prepare, Recipe\n"
        "store = prepare([sys.argv[1]], sys.argv[2], Recipe(compact=True), verbose=0).store\n"
        "print(json.dumps(store.size / store.manifest.counts['residues']))",
        links,
        out + ".compact",
        GEARNET_PLUGIN_LIGHT="1",
    )
    yield row("bytes a residue on disk, compact", prepare_compact, aim=10, at_most=True)


def opening(files, store, pairs):
    """Open a prepared dataset, against stock's pickle of as many proteins."""
    import gearnet_plugin
    from gearnet_plugin.datasets import StructureFolder
    from torchdrug import data

    proteins = [protein for protein in map(try_stock, files) if protein is not None]
    count = len(gearnet_plugin.StructureStore(store))

    class StockDataset(data.ProteinDataset):
        pass

    saved = StockDataset()
    saved.transform, saved.lazy, saved.kwargs = None, False, {}
    repeats = max(1, 300 // len(proteins))
    saved.data = [protein.clone() for protein in proteins * repeats]
    saved.pdb_files = [f"{i}.pdb" for i in range(len(saved.data))]
    saved.sequences = [""] * len(saved.data)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stock.pkl.gz")
        with contextlib.redirect_stderr(io.StringIO()):
            saved.save_pickle(path)

        def stock():
            with contextlib.redirect_stderr(io.StringIO()):
                StockDataset().load_pickle(path)

        result = compare(stock, lambda: StructureFolder(store, verbose=0)[0], pairs)
    # stock's time grows with the number of proteins; it was measured on fewer, which is to its favour in memory
    scale = count / len(saved.data)
    scaled = type(result)(
        result.median * scale,
        result.low * scale,
        result.high * scale,
        result.first * scale,
        result.second,
        result.pairs,
    )
    yield row(f"open {count} structures (stock: {len(saved.data)} measured, times {scale:.3g})", scaled, aim=100)


def holding(store):
    """Memory of processes that have a store open."""
    first = in_process(OPEN, store, "all")
    yield row(
        "memory of opening it, USS above import", first["opened"]["uss"] - first["before"]["uss"], 30, " MiB", True
    )
    yield row(
        "memory of reading all of it, not counting pages of files",
        first["after"]["anonymous"] - first["before"]["anonymous"],
        unit=" MiB",
    )
    yield row("memory of a further reader, USS above import", _further_reader(store), 20, " MiB", True)


def _further_reader(store):
    """USS that opening costs while another process has the store open."""
    other = subprocess.Popen(program(OPEN, store, "wait"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        further = in_process(OPEN, store, "first")
    finally:
        other.communicate()
    return further["opened"]["uss"] - further["before"]["uss"]


def rounding(store):
    """What steps of 0.01 Å do to the edges of a graph of the paper's configs."""
    from gearnet_plugin.datasets import StructureFolder
    from gearnet_plugin.graphs import ResidueProtein
    from gearnet_plugin.layers import ResidueGraphConstruction
    from gearnet_plugin.structures.bundled import bundled_structures
    from torchdrug.layers import geometry

    construction = ResidueGraphConstruction(
        node_layers=[geometry.AlphaCarbonNode()],
        edge_layers=[
            geometry.SequentialEdge(max_distance=2),
            geometry.SpatialEdge(radius=10, min_distance=5),
            geometry.KNNEdge(k=10, min_distance=5),
        ],
    )
    exact, rounded = (StructureFolder(path, verbose=0) for path in (store, store + ".compact"))
    edges, differing = 0, 0
    # links to the bundled files one after the other: the first so many are all there is
    count = len(bundled_structures())
    for first in range(0, count, 8):
        graphs = [
            construction(ResidueProtein.pack([dataset[i]["graph"] for i in range(first, min(first + 8, count))]))
            for dataset in (exact, rounded)
        ]
        sets = [set(map(tuple, graph.edge_list.tolist())) for graph in graphs]
        edges += len(sets[0])
        differing += len(sets[0] ^ sets[1])
    yield row("edges that a compact store changes, in 1,000", 1000 * differing / edges)


def growing(links, folder):
    """100,000 structures: memory must not grow with them, while writing or reading."""
    from gearnet_plugin.structures import StructureStore

    out = os.path.join(folder, "many.store")
    written = in_process(WRITE_ALL, links, out)
    store = StructureStore(out)
    yield row(f"write {len(store)} structures, structures a second", len(store) / written["seconds"])
    yield row(
        "memory of writing them, above the start", max(written["memory"]) - written["memory"][0], 60, " MiB", True
    )
    seen = in_process(READ_ALL, out)
    yield row("memory of reading them, not counting pages of files", max(seen) - seen[0], 60, " MiB", True)


def same(protein, positions):
    """Whether a protein of stock has these Cα positions."""
    from torchdrug import data

    theirs = protein.node_position[protein.atom_name == data.Protein.atom_name2id["CA"]].numpy()
    ours = np.asarray(positions)
    return theirs.shape == ours.shape and bool(np.abs(theirs - ours).max() < 1e-3)


def try_stock(path):
    """What stock reads of a file, or None where it refuses it."""
    try:
        return stock_read(path)
    except Exception:  # noqa: BLE001  RDKit refuses some valid files
        return None


def _seconds(call, argument):
    start = time.perf_counter()
    call(argument)
    return time.perf_counter() - start
