# %% [markdown]
"""
# Tutorial: your own labels

From a table of structures with a class each to an encoder that predicts the class of new structures, with what it takes
to judge it: a split in which no sequence of one part is similar to one of another, intervals, and the majority class.

    python script/tutorial_labels.py [--table TABLE --target COLUMN --new STRUCTURES] [--model RUN] [--out DIR]

Without a table it makes one of the chains that come with the package and their structural classes. In an editor that
knows cells (VS Code, Jupyter with jupytext) it opens as a notebook; then give the options in its first cell by hand.
"""

# %%
import argparse
import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np

from tutorial_common import ROOT, absolute, arguments, copy_bundled, output_folder, pretrained, run

# from here on the package of this checkout is found
# isort: split
from gearnet_plugin import load_encoder
from gearnet_plugin.datasets import StructureFolder

parser = argparse.ArgumentParser(description="Tutorial: fine-tune on labels from your own table, and predict.")
parser.add_argument("--table", help="table (.csv, .tsv) with the columns structure, a label, maybe chain and split")
parser.add_argument("--target", default="class", metavar="COLUMN", help="its column with the class, by default `class`")
parser.add_argument("--new", metavar="STRUCTURES", help="structures to predict; by default those of the table")
parser.add_argument("--model", metavar="NAME|RUN|PATH", help="encoder; by default the quickstart's, else a new one")
parser.add_argument("--out", metavar="DIR", help="new folder for what is written; by default a temporary one")
parser.add_argument("--quick", action="store_true", help="an epoch or two of everything, too few to learn; for tests")
options = arguments(parser)
out = output_folder(options.out)
print(f"Everything is written to {out}")

# %% [markdown]
# ## 1. A table
#
# A row for each structure. `structure` is the file, from the root or from where the table is; `chain` is needed where a
# file holds several; one column holds the label. `.tsv` works too, and Excel saves both.
#
# The bundled chains have a structural class: mainly alpha, mainly beta, or mixed. Some are kept back as the new
# structures of the last step. Chains that are identical in 40 % of their sequence were kept on one side.

# %%
known = {}
if options.table is None:
    table, new = out / "my_table.csv", out / "new_structures"
    rows = copy_bundled(out / "my_structures", splits=("train", "valid"))
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["structure", "chain", "class", "resolution"])
        for row in rows:
            where = f"my_structures/{row['structure']}"
            writer.writerow([where, row["chain"], row["class"], row["resolution"]])
    known = {row["structure"]: row["class"] for row in copy_bundled(new, splits=("test",))}
    print(f"{table}: {len(rows)} chains; {new}: {len(known)} chains")
else:
    table = Path(absolute(options.table))
    new = Path(absolute(options.new)) if options.new else out / "new_structures.txt"
    print(f"{table}; to be predicted: {new}")

# %% [markdown]
# ## 2. Look at it before it is used
#
# Typing errors in labels make new classes, and a class with two members cannot be learned. Both are seen here.

# %%
with open(table, newline="", encoding="utf-8-sig") as file:
    rows = list(csv.DictReader(file, delimiter="\t" if table.suffix == ".tsv" else ","))
if not rows or options.target not in rows[0]:
    raise SystemExit(f"error: `{table}` has no rows with a column `{options.target}`; --target names the one to learn")
for column in rows[0]:
    values = Counter(row[column] for row in rows)
    examples = ", ".join(f"{value or '(empty)'} x {count}" for value, count in values.most_common(3))
    print(f"{column}: {len(values)} different values, {examples}{', ...' if len(values) > 3 else ''}")

# %% [markdown]
# ## 3. Split by similarity
#
# A test on a close relative of a training protein measures memory. `split: cluster` puts chains that share 30 % of
# their residues in an alignment into one cluster, and never cuts a cluster. A table with a column `split` keeps its
# own.
#
# 60, 20 and 20 % here, since 10 % of so few chains would be no test at all; 80, 10 and 10 is what you get otherwise.

# %%
missing = {"train", "valid", "test"} - {row.get("split") for row in rows}
if "split" in rows[0] and missing:
    raise SystemExit(f"error: the column `split` of `{table}` names no {', '.join(sorted(missing))}; rename or fill it")
splitting = {} if "split" in rows[0] else {"split": "cluster", "split_fractions": [0.6, 0.2, 0.2]}
dataset = StructureFolder(table, target=options.target, kind="class", verbose=0, **splitting)
classes = dataset.classes[options.target]
labels = [dataset.targets[options.target][place] for place in range(len(dataset))]
parts = dict(zip(("train", "valid", "test"), dataset.split()))
for name, part in parts.items():
    counts = Counter(classes[int(labels[place])] for place in part.indices if labels[place] == labels[place])
    print(f"{name:>5}: {len(part)} chains, " + ", ".join(f"{counts[label]} {label}" for label in classes))
for file, reason in dataset.drops:
    print(f"left out: {file}: {reason}")
if not options.new and options.table:
    # without other structures those of the table are predicted, by a list with a path a line
    new.write_text("".join(f"{table.parent / row['structure']}\n" for row in rows))

# %% [markdown]
# ## 4. The encoder to start from
#
# Fine-tuning starts from an encoder that was pretrained without labels. Its widths have to be in the configuration; if
# anything else of it differs, the message of the next step says what.

# %%
model = pretrained(options.model, table, out, options.quick)
widths = load_encoder(model).encoder.dims[1:]
print(f"layers of the encoder: {widths}")

# %% [markdown]
# ## 5. Fine-tune
#
# The configuration is for large data; four values are changed by `--set`. The epoch that is best on the validation set
# is kept and tested once.

# %%
common = ["-c", ROOT / "config/downstream/own/classification.yaml", "--table", table, "--target", options.target,
          "--ckpt", model]  # fmt: skip
changes = [f"task.model.hidden_dims={json.dumps(widths, separators=(',', ':'))}"]
if splitting:
    common += ["--split", "cluster"]
    changes.append("dataset.split_fractions=[0.6,0.2,0.2]")
epochs = (1, 2) if options.quick else (10, 50)
run("python", ROOT / "script/run.py", *common, "--out", "finetune", "--set", *changes,
    f"train.num_epoch={epochs[0]}", "optimizer.lr=3e-4", cwd=out, keep="valid:|best epoch|test:")  # fmt: skip

# %% [markdown]
# ## 6. What came out
#
# `results.json` has the metrics of the test set. The intervals come from drawing its chains again and again with
# replacement: in 95 % of the draws the metric lies between the two. They hold the luck of the test set, but not that of
# the split, of the seed or of the choice of the epoch; `--seed 1` and `--set dataset.split_seed=1` show those.
#
# Accuracy depends on how frequent the classes are. Matthews' correlation does not reward naming the frequent one: 1 is
# perfect, 0 as good as guessing.

# %%


def results(run):
    """Metrics of a run on the test set, with their intervals."""
    with open(out / run / "results.json") as file:
        content = json.load(file)
    return {name: (value, content["intervals"].get(name)) for name, value in content["test"].items()}


def shown(value, interval):
    """A metric as text."""
    return f"{value:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


for name, found in results("finetune").items():
    print(f"{name}: {shown(*found)}")

# %% [markdown]
# `classes.tsv` has a row for each class: how many are in the test (`support`) and in training, and what was found of
# it.

# %%
print((out / "finetune/classes.tsv").read_text().expandtabs(12).strip())

# %% [markdown]
# ## 7. Against the majority class
#
# The first question to any accuracy: what does one get who always names the most frequent class of the training set?

# %%
with np.load(out / "finetune/predictions.npz") as arrays:
    truth = arrays["targets"][:, 0]
trained = Counter(int(labels[place]) for place in parts["train"].indices if labels[place] == labels[place])
most = trained.most_common(1)[0][0]
majority = float(np.mean(truth[~np.isnan(truth)] == most))
print(
    f"always `{classes[most]}`, {trained[most]} of {trained.total()} in training: accuracy {majority:.2f} in the test"
)

# %% [markdown]
# ## 8. A linear probe
#
# `task.freeze_encoder=true` trains only the head, here one linear layer (`task.num_mlp_layer=1`). Each chain is
# embedded once, so 50 epochs take seconds. It asks what the encoder already knew, and with few labels it is often no
# worse.

# %%
run("python", ROOT / "script/run.py", *common, "--out", "probe", "--set", *changes, f"train.num_epoch={epochs[1]}",
    "task.freeze_encoder=true", "task.num_mlp_layer=1", "optimizer.lr=1e-3",
    cwd=out, keep="best epoch|test:")  # fmt: skip
print(f"{'majority class':>16}: {majority:.2f}")
for name in ("finetune", "probe"):
    title, found = next(iter(results(name).items()))
    print(f"{name:>16}: {shown(*found)} {title}")

# %% [markdown]
# Intervals that overlap so far decide nothing: with 15 test chains one chain is 7 % of accuracy. From 94 chains you
# learn whether table, split and commands are right. Whether fine-tuning beats the probe, or pretraining beats none,
# takes hundreds of test chains and several seeds.
#
# ## 9. Predict
#
# `gearnet predict` takes the folder of the run. Its table has the class, its probability, and warnings.

# %%
run("gearnet", "predict", new, "--model", "finetune", "--device", "cpu", "--quiet", "-o", "predictions.csv", cwd=out)
with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
    predictions = list(csv.DictReader(file))
print("columns:", ", ".join(predictions[0]))
for row in predictions[:8]:
    true = known.get(Path(row["source"]).name)
    end = (f", true {true}" if true else "") + (f"; {row['warnings']}" if row["warnings"] else "")
    print(f"  {row['name']:>16}: {row['label']}, probability {float(row['probability']):.2f}{end}")

# %% [markdown]
# A probability is calibrated where the validation set is large enough, and the column `calibrated` says whether it was.
# Otherwise read it as an order, not as a frequency: a network that is trained on few examples is far too sure.
#
# The accuracy here may lie far from that of the test set above. This is what the intervals were about.

# %%
if known:
    hits = [row["label"] == known[Path(row["source"]).name] for row in predictions]
    sure = np.mean([float(row["probability"]) for row in predictions])
    print(f"{sum(hits)} of {len(hits)} new chains are right ({np.mean(hits):.2f}); mean probability {sure:.2f}")
    counts = Counter(known.values())
    print(f"always `{classes[most]}`: {counts[classes[most]]} of {len(hits)}")
elif not options.new:
    print("These are the structures of the table, most of which the encoder was trained on: no test of anything.")

# %% [markdown]
# The same in Python, with all classes of one chain:

# %%
one = Path(predictions[0]["source"])
for row in load_encoder(out / "finetune").predict(one, top=len(classes), verbose=0).proteins[0].rows:
    print(f"  {one.name}: {row['label']} {row['probability']:.2f}")

# %% [markdown]
# ## 10. Several labels a structure
#
# EC numbers, GO terms, ligands: put them into one cell, separated by `;`, such as `3.4.21.4;3.4.21.73`; an empty cell
# means none of them. The other configuration is then
#
#     python script/run.py -c config/downstream/own/multilabel.yaml --table my_table.csv --target terms --split cluster
#
# and for numbers, such as a melting temperature, `config/downstream/own/regression.yaml`. `gearnet predict` then tells
# the labels above the threshold that was best on the validation set (`--threshold 0.5` sets another, `--top 5` gives
# the five most probable), or the numbers with their error on it.

# %%
print(f"Done. {out} holds:", ", ".join(sorted(path.name for path in out.iterdir())))
