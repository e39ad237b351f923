# %% [markdown]
"""
# Tutorial: your own structures

From PDB and mmCIF files to vectors, one for each chain and one for each residue, and what to look at in them.

    python script/tutorial_structures.py [FOLDER] [--model NAME|RUN|PATH] [--out DIR]

Without FOLDER it takes the 94 chains that come with the package. In an editor that knows cells (VS Code, Jupyter with
jupytext) it opens as a notebook; then give the options in its first cell by hand.

"Residue" means its Cα atom throughout: GearNet reads the Cα trace and the residue types, no side chains, no ligands and
no water.
"""

# %%
import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tutorial_common import Picture, absolute, arguments, copy_bundled, output_folder, pretrained, run

# from here on the package of this checkout is found
# isort: split
from gearnet_plugin import load_encoder, read_structure
from gearnet_plugin.embedding import Embeddings
from gearnet_plugin.structures import find_structures

parser = argparse.ArgumentParser(description="Tutorial: embed your own structures and look at the vectors.")
parser.add_argument("folder", nargs="?", help="folder of structures; by default a copy of the bundled ones")
parser.add_argument("--model", metavar="NAME|RUN|PATH", help="encoder; by default the quickstart's, else a new one")
parser.add_argument("--out", metavar="DIR", help="new folder for what is written; by default a temporary one")
parser.add_argument("--quick", action="store_true", help="with an encoder that is trained too shortly; for tests")
options = arguments(parser)
out = output_folder(options.out)
print(f"Everything is written to {out}")

# %% [markdown]
# ## 1. The files
#
# A folder may hold `.pdb`, `.cif` and more formats, each also with `.gz`. The bundled structures are copied, and a file
# that is no structure is put beside them, because real folders have such files too.

# %%
if options.folder is None:
    folder = out / "my_structures"
    copy_bundled(folder)
    (folder / "notes.pdb").write_text("REMARK  not a structure\n")
else:
    folder = Path(absolute(options.folder))
files = [Path(entry.source) for entry in find_structures(folder)]
if not all(file.is_file() for file in files):
    raise SystemExit(f"error: this tutorial looks at single files; unpack the archives in `{folder}` first")
print(f"{len(files)} files in {folder}: {', '.join(file.name for file in files[:4])}, ...")

# %% [markdown]
# ## 2. One structure
#
# `read_structure` tells what the encoder will see. Chains and residue numbers are those of the authors, as PyMOL shows
# them. The default is trypsin, 1GBT. Its numbers follow chymotrypsin, with gaps and insertion codes, and it keeps them.

# %%
chosen = structure = None
for file in sorted(files, key=lambda file: not file.name.startswith("1gbt_A")):
    try:
        chosen, structure = file, read_structure(file)
        break
    except ValueError as error:
        print(f"not this one: {error}")
if structure is None:
    raise SystemExit(f"error: none of the files in `{folder}` can be read")
quality = f", {structure.resolution} Å" if structure.resolution else ""
print(f"{chosen.name}: {len(structure)} residues; {structure.method or 'method not given'}{quality}")
for chain in structure.chains():
    name, (first, last) = chain.chain_ids[0] or "(no id)", chain.residue_numbers[[0, -1]]
    print(f"  chain {name}: {len(chain)} residues, {first} to {last}: {chain.sequence[:40]}...")
numbers = zip(structure.residue_numbers, structure.insertion_codes)
inserted = [f"{number}{code}" for number, code in numbers if code]
print(f"  with insertion codes: {', '.join(inserted[:8]) or 'none'}")

# %% [markdown]
# What was left out of protein chains is counted by reason: residues without Cα, coordinates that cannot be. Ligands,
# water and nucleic acids are no residues of a protein and are not counted.

# %%
print(f"left out: {structure.dropped or 'nothing'}")

# %% [markdown]
# A residue graph joins residues that are neighbours in the sequence or in space. `gearnet doctor` draws it: the contact
# map that you know, with a colour for each kind of edge. Helices are thick along the diagonal, sheets are lines off it.

# %%
run("gearnet", "doctor", chosen, "--picture", out / "contact_map.png", cwd=out)
Picture(out / "contact_map.png")

# %% [markdown]
# ## 3. The encoder
#
# Any run of this package, a file of weights, or a published name such as `mc_gearnet_edge`, which is downloaded.
#
# An encoder that learned from 94 chains for a minute shows how things are done. It has seen far too little to be a good
# model of proteins: for real work take published weights, or pretrain on many thousand structures.

# %%
model = pretrained(options.model, folder, out, options.quick)
encoder = load_encoder(model)
print(f"{encoder.info['encoder']} with {encoder.info['num_parameter']:,} parameters, from {encoder.info['weights']}")
print(f"{encoder.output_dim} numbers a vector")

# %% [markdown]
# ## 4. Embedding
#
# `level="both"` gives a vector for each chain and one for each residue. The file that is no structure is not lost: it
# is in `drops`, with the reason.

# %%
embeddings = encoder.embed(folder, level="both", verbose=0)
print(f"chains:   {embeddings.protein.shape[0]} vectors of {embeddings.protein.shape[1]} numbers")
print(f"residues: {sum(map(len, embeddings.residue)):,} vectors of {embeddings.residue[0].shape[1]} numbers")
for file, reason in embeddings.drops:
    print(f"dropped {Path(file).name}: {reason}")
if len(embeddings) < 3:
    raise SystemExit(f"error: what follows compares chains and needs three, but `{folder}` has {len(embeddings)}")

# %% [markdown]
# Every row has a key. A chain is called `<file>_<chain>`; a residue has chain, number, insertion code and name.

# %%
query = next(place for place, source in enumerate(embeddings.sources) if Path(source).name == chosen.name)
keys = embeddings.keys[query]


def residue_name(keys, row):
    """Such as SER195, as one writes it."""
    return f"{keys['residue_name'][row]}{keys['residue_number'][row]}{keys['insertion_code'][row]}"


print("first chains:", ", ".join(embeddings.names[:5]))
print(f"first residues of {embeddings.names[query]}:", ", ".join(residue_name(keys, row) for row in range(5)))

# %% [markdown]
# ## 5. Which chains are alike
#
# Two steps come before the cosine. With `readout: sum`, as in the paper, the vector of a chain is the sum of those of
# its residues, so it grows with the length: the mean over residues does not. And all vectors share a large common part:
# the mean over all chains is taken off.

# %%
means = np.stack([rows.mean(axis=0) for rows in embeddings.residue])
centred = means - means.mean(axis=0)


def cosines(vectors, vector):
    """Cosine of a vector with each row; 0 where one of the two is zero."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    return vectors @ vector / np.where(lengths > 0, lengths, 1)


print("sum of the residues is the vector of the chain:",
      np.allclose(embeddings.residue[query].sum(axis=0), embeddings.protein[query], rtol=1e-3))  # fmt: skip
for name, vectors in {"as they are": embeddings.protein, "means, centred": centred}.items():
    others = np.delete(cosines(vectors, vectors[query]), query)
    low, middle, high = np.quantile(others, [0, 0.5, 1])
    print(f"cosines with the other chains, {name}: {low:.2f} to {high:.2f}, median {middle:.2f}")

# %% [markdown]
# The nearest neighbours, beside something that the encoder was not told: the fraction of residues in a helical place
# (Cα of residues i and i + 3 are 4.5 to 5.8 Å apart; in a strand it is about 10 Å).

# %%


def helical(file, chain):
    """Fraction of helical places of a chain."""
    chains = {str(part.chain_ids[0]): part for part in read_structure(file).chains()}
    positions = chains[chain].positions
    distance = np.linalg.norm(positions[3:] - positions[:-3], axis=1)
    return float(np.mean((distance > 4.5) & (distance < 5.8))) if len(distance) else 0.0


helix = np.array([helical(*where) for where in zip(embeddings.sources, embeddings.chains)])
likeness = cosines(centred, centred[query])
nearest = [place for place in np.argsort(-likeness) if place != query]
print(f"{'chain':>16} cosine residues helical")
for place in [query, *nearest[:5]]:
    print(f"{embeddings.names[place]:>16} {likeness[place]:6.2f} {embeddings.lengths[place]:8} {helix[place]:7.0%}")

# %% [markdown]
# With the bundled structures the first should be 4zhl, urokinase, which is a serine protease too. Now for all chains:
# is the nearest neighbour closer in helix content than any other chain?

# %%
first = [max((value, other) for other, value in enumerate(cosines(centred, centred[place])) if other != place)[1]
         for place in range(len(centred))]  # fmt: skip
print(f"difference in helix content: nearest neighbour {np.abs(helix - helix[first]).mean():.1%}, "
      f"any two chains {np.abs(helix[:, None] - helix)[~np.eye(len(helix), dtype=bool)].mean():.1%}")  # fmt: skip

# %% [markdown]
# ## 6. Which residues are alike
#
# The same for residues: SER195 of trypsin, its nucleophile; elsewhere the residue in the middle of the chain. Expect
# residues near it first: a vector holds what is around a residue, and neighbours in the graph share that.

# %%
centre = np.concatenate(embeddings.residue).mean(axis=0)
rows = embeddings.residue[query] - centre
at_195 = np.flatnonzero(keys["residue_number"] == 195)
row = int(at_195[0]) if chosen.name.startswith("1gbt_A") and len(at_195) else len(rows) // 2
alike = np.argsort(-cosines(rows, rows[row]))[:8]
print(f"{embeddings.names[query]} {residue_name(keys, row)}:")
for place in alike[1:]:
    print(f"  {residue_name(keys, place):>8} cosine {cosines(rows, rows[row])[place]:.2f}")

# %% [markdown]
# In the nearest chain, whose residues have other surroundings of the same kind, the best match is more telling. For
# trypsin and urokinase, numbered alike, a good encoder finds 195 again.

# %%
other = nearest[0]
match = cosines(embeddings.residue[other] - centre, rows[row])
print(f"best matches of {residue_name(keys, row)} in {embeddings.names[other]}:")
for place in np.argsort(-match)[:3]:
    print(f"  {residue_name(embeddings.keys[other], place):>8} cosine {match[place]:.2f}")

# %% [markdown]
# To see them in PyMOL, run this file: `pymol similar.pml`.

# %%
places = "+".join(f"{keys['residue_number'][place]}{keys['insertion_code'][place]}" for place in alike)
chain = embeddings.chains[query]
selection = f"resi {places}" + (f" and chain {chain}" if chain else "")
look = ["as cartoon", "color grey80", "show spheres, similar and name CA", "color orange, similar", "zoom similar, 10"]
lines = [f"load {chosen}", f"select similar, {selection}", *look]
(out / "similar.pml").write_text("\n".join(lines) + "\n")
print(f"{out / 'similar.pml'}: select similar, {selection}")

# %% [markdown]
# ## 7. A map
#
# The two directions in which the chains differ most (principal components), coloured by helix content. The axes say how
# much of the variance they hold; what is not in them is not in the picture.

# %%
_, sizes, axes_of_map = np.linalg.svd(centred, full_matrices=False)
share = sizes**2 / max((sizes**2).sum(), 1e-12)
flat = centred @ axes_of_map[:2].T
figure = Figure(figsize=(6.4, 5), layout="constrained")
axes = figure.add_subplot()
points = axes.scatter(*flat.T, c=helix, cmap="viridis", s=22)
figure.colorbar(points, label="helical places")
for place in [query, nearest[0]]:
    axes.annotate(embeddings.names[place], flat[place], xytext=(4, 4), textcoords="offset points", fontsize=8)
axes.set_xlabel(f"component 1 ({share[0]:.0%} of the variance)")
axes.set_ylabel(f"component 2 ({share[1]:.0%})")
figure.savefig(out / "map.png", dpi=150)
together = abs(np.corrcoef(flat[:, 0], helix)[0, 1])
print(
    f"two components hold {share[:2].sum():.0%} of the variance; first and helix content: |correlation| {together:.2f}"
)
Picture(out / "map.png")

# %% [markdown]
# ## 8. Keep them
#
# An `.npz` is arrays alone, without pickles; numpy reads it anywhere, without this package. `.h5`, `.parquet` and `.pt`
# are written the same way.

# %%
embeddings.save(out / "embeddings.npz")
again = Embeddings.load(out / "embeddings.npz")
with np.load(out / "embeddings.npz") as arrays:
    print(f"embeddings.npz, {(out / 'embeddings.npz').stat().st_size / 1e6:.1f} MB:")
    for name in ("names", "protein", "residue", "residue_number", "offsets"):
        print(f"  {name}: {arrays[name].dtype} {arrays[name].shape}")
print("read again, the same:", again.names == embeddings.names and np.array_equal(again.protein, embeddings.protein))

# %% [markdown]
# ## 9. The same by a command
#
# For 100,000 structures there is `gearnet embed`, in memory that does not grow with their number. Interrupted, the same
# command goes on. It gives the same vectors, up to rounding, since what else is in a batch changes nothing.

# %%
run("gearnet", "embed", folder, "--model", model, "--level", "both", "--device", "cpu", "--quiet",
    "-o", out / "by_command.npz", cwd=out)  # fmt: skip
command = Embeddings.load(out / "by_command.npz")
assert command.names == embeddings.names
error = np.abs(command.protein - embeddings.protein).max() / np.abs(embeddings.protein).max()
print(f"Python and command agree: {error < 1e-5} (largest difference: {error:.1e} of the largest number)")
print((out / "by_command.npz.drops.tsv").read_text().strip() if embeddings.drops else "nothing was dropped")

# %% [markdown]
# ## What this shows, and what it does not
#
# 94 chains show that files, keys and vectors fit together, and that close relatives end up side by side. They cannot
# show that one encoder is better than another: that takes labels (`script/tutorial_labels.py`) and far more proteins.

# %%
print(f"Done. {out} holds:", ", ".join(sorted(path.name for path in out.iterdir())))
