"""The page that the quickstart writes: what was run on which structures, what came out, how to go on."""
import os
from collections import Counter

import numpy as np

from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.embedding import load_encoder
from gearnet_plugin.report import figures
from gearnet_plugin.report.page import Page
from gearnet_plugin.report.runs import curve, last, mean_curve, read_metrics, read_versions

CAUTION = (
    "So few structures show the machinery, not the science: one test structure more or less is %.3f of accuracy, "
    "and other structures would give other numbers. The paper pretrains on 805,000 structures "
    "(config/pretrain/mc_gearnet_edge.yaml)."
)
PRETRAINING = (
    "Multiview contrast: two random crops of each protein, stretches of its chain or balls in space, pass the "
    "encoder, which learns to make the two alike and unlike those of other proteins. Retrieval accuracy is how often "
    "the other crop of the same protein is the most similar one in the batch. Even an untrained encoder is far above "
    "chance, since crops of one protein share its composition: compare with the first epoch. No labels are used, and "
    "training sees the training set only."
)
FINETUNING = (
    "The same network learns the structural class from the labels of the training set: from the pretrained encoder "
    "and from random weights, %d times each with other seeds. The epoch that is best on the validation set is tested, "
    "once. All runs from the pretrained encoder share that one encoder, so their spread says nothing about another "
    "pretraining."
)
EMBEDDING = (
    "Each chain is a vector of %d numbers from the pretrained encoder, which has seen no labels. The map shows "
    "their directions: a sum over residues grows with the chain, so the vectors are scaled to unit length, then "
    "projected on their first two principal components. Chains that are close in the map may be apart in other "
    "dimensions."
)
OWN = (
    "From the root of the repository, with PDB or mmCIF files (plain or .gz) in my_structures/, and for fine-tuning a "
    "table my_table.tsv with the columns structure, split and class (a class in another column: --set "
    "dataset.target=COLUMN):"
)
LABELS = {"pretrained": "pretrained encoder", "scratch": "from scratch"}
# the parts of versions.json that the page shows
VERSIONS = ("gearnet_plugin", "python", "torch", "torchdrug", "numpy", "gemmi", "platform", "git")
# epochs that are averaged to draw a line through the points of noisy curves
SMOOTH = 9


def write_report(table, pretrain, finetune, embeddings, report, commands, following):
    """
    Embed the structures with the pretrained encoder and write the page.

    Parameters:
        table (str): table of the structures
        pretrain (str): run folder of pretraining
        finetune (dict): run folders of fine-tuning, {``pretrained`` or ``scratch``: list}
        embeddings (str): file for the embeddings, ``.npz``
        report (str): file for the page
        commands (list of str): commands that were run
        following (list of str): commands to go on with
    """
    proteins = Proteins(table)
    embedded = load_encoder(pretrain).embed(proteins.structures, verbose=0)
    embedded.save(embeddings)
    records = {start: [read_metrics(run) for run in finetune[start]] for start in LABELS}
    page = Page("GearNet quickstart", "Pretraining, fine-tuning and embedding of %d real protein chains with "
                "GearNet-Edge" % len(proteins.structures))
    _structures(page, proteins)
    _pretraining(page, read_metrics(pretrain))
    _finetuning(page, records, proteins.majority())
    _map(page, embedded.protein, proteins)
    page.section("Your own structures").text(OWN).code("\n".join(following))
    _commands(page, commands, read_versions(pretrain), embedded, embeddings)
    page.save(report)


class Proteins:
    """
    The structures of a table with the class and split of each.

    Parameters:
        table (str): table with the columns structure, split, class
    """

    def __init__(self, table):
        dataset = StructureFolder(os.fspath(table), target="class", kind="class", verbose=0)
        names = dataset.classes["class"]
        self.structures = dataset.structures
        # a structure without a label has NaN
        self.classes = [names[int(i)] if i == i else "no class" for i in dataset.targets["class"]]
        self.splits = ["no split"] * len(dataset)
        for split, part in zip(dataset.split_names, dataset.split()):
            for i in part.indices:
                self.splits[i] = split

    def counts(self, split):
        """Number of structures of each class in a split."""
        return Counter(kind for kind, where in zip(self.classes, self.splits) if where == split)

    def majority(self):
        """
        Test accuracy of always answering the most frequent class of the training set. Where several are equally
        frequent, of the one of them that happens to be best.
        """
        train, test = self.counts("train"), self.counts("test")
        frequent = [kind for kind, count in train.items() if count == max(train.values())]
        return max(test[kind] for kind in frequent) / sum(test.values())


def _structures(page, proteins):
    kinds = sorted(set(proteins.classes))
    rows = []
    for split in ("train", "valid", "test"):
        counts = proteins.counts(split)
        rows.append({"split": split, **{kind: counts[kind] for kind in kinds}, "all": sum(counts.values())})
    lengths = [len(structure) for structure in proteins.structures]
    page.section("Structures").note(CAUTION % (1 / rows[-1]["all"])).text(
        "%d chains of %d to %d residues, %s in all." % (len(lengths), min(lengths), max(lengths),
                                                        format(sum(lengths), ","))
    ).table(rows, caption="Number of chains by split and structural class")


def _pretraining(page, records):
    epochs, hits = curve(records, "retrieval accuracy")
    chance = curve(records, "chance accuracy")[1][-1]
    rows = [{"split": "train", "first epoch": hits[0], "last epoch": hits[-1],
             "mean of the last %d" % SMOOTH: float(np.mean(hits[-SMOOTH:])), "chance": chance}]
    for split in ("valid", "test"):
        values = last(records, split)["values"]
        rows.append({"split": split, "last epoch": values["retrieval accuracy"], "chance": values["chance accuracy"]})
    figure = figures.curves([
        {"title": "InfoNCE loss", "series": {"train": curve(records, "loss")}, "y": "nats"},
        {"title": "Finds the other view of a protein", "series": {"train": (epochs, hits)},
         "y": "retrieval accuracy", "baseline": {"chance": chance}},
    ], smooth=SMOOTH)
    page.section("Pretraining").text(PRETRAINING).figure(
        figure, "Points are epochs, lines averages over %d of them: which crops are drawn makes an epoch easy or hard."
                % SMOOTH
    ).table(rows, caption="Retrieval accuracy. Chance depends on the size of the batches, which hold the proteins to "
                          "be told apart; validation and test are drawn once, at the end.")


def _finetuning(page, records, majority):
    results = {start: [last(run)["values"] for run in runs] for start, runs in records.items()}
    metric = next(name for name in results["scratch"][0] if name.startswith("accuracy"))
    scores = {LABELS[start]: [values[metric] for values in runs] for start, runs in results.items()}
    rows = [{"start": label, "test accuracy": float(np.mean(values)),
             "standard deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
             "each run": ", ".join("%.3f" % value for value in values)} for label, values in scores.items()]
    rows.append({"start": "majority class", "test accuracy": majority})
    panels = [
        {"title": title, "y": unit, "series": {
            LABELS[start]: mean_curve([curve(run, name, kind) for run in runs]) for start, runs in records.items()}}
        for title, unit, name, kind in [("Training loss", "cross entropy in nats", "loss", "train"),
                                        ("Validation accuracy", "accuracy", metric, "valid")]]
    count = len(records["scratch"])
    page.section("Fine-tuning").text(FINETUNING % count).table(rows, caption="Accuracy on the test set").figure(
        figures.metric_bars(scores, "test accuracy", {"majority class": majority}, 1),
        "Bars are means, points single runs."
    ).text(_verdict(scores, majority)).figure(figures.curves(panels), "Means over %d runs." % count)


def _verdict(scores, majority):
    """What the numbers carry: no difference is claimed that is within the spread of the runs."""
    worse = [label for label, values in scores.items() if min(values) <= majority]
    parts = ["Not every run %s beats the majority class." % " and ".join(worse) if worse
             else "Every run beats the majority class."]
    ours, theirs = (scores[LABELS[start]] for start in ("pretrained", "scratch"))
    gain = float(np.mean(ours) - np.mean(theirs))
    if min(ours) > max(theirs):
        parts.append("Every run from the pretrained encoder beats every run from scratch, on average by %.3f." % gain)
    elif max(ours) < min(theirs):
        parts.append("Every run from scratch beats every run from the pretrained encoder, on average by %.3f: this "
                     "little pretraining does not help." % -gain)
    else:
        parts.append("The runs of the two starts overlap: they cannot tell whether pretraining helps here.")
    return " ".join(parts)


def _map(page, vectors, proteins):
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    coordinates, share = figures.pca(directions)
    names = ["principal component %d (%.0f %% of the variance)" % (i + 1, 100 * part) for i, part in enumerate(share)]
    page.section("Embeddings").text(EMBEDDING % vectors.shape[1]).figure(
        figures.embedding_map(coordinates, proteins.classes, proteins.splits, names),
        "Embeddings of %d chains: colour by structural class, marker by split." % len(vectors))


def _commands(page, commands, versions, embedded, embeddings):
    rows = [[name, str(versions[name])] for name in VERSIONS if versions.get(name)]
    rows.append(["stand-ins for", ", ".join(versions.get("stand_ins") or []) or "nothing"])
    page.section("Commands and versions").text("What was run, in the root of the repository:").code(
        "\n".join(commands)
    ).text(
        "%s holds names (%d) and protein (%d × %d) among others; numpy.load reads it. Each run folder holds its "
        "configuration, log.txt, metrics.jsonl, checkpoints and encoder.pth."
        % (os.path.basename(embeddings), len(embedded), *embedded.protein.shape)
    ).table(rows, header=["what", "version"])
