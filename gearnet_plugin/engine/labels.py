"""Which labels the task of a configuration wants, and what is known of them without opening data."""
import math

import torch
from torch.utils import data as torch_data

from gearnet_plugin.engine.build import arguments, find_class
from gearnet_plugin.engine.errors import ConfigError, did_you_mean, listing
from torchdrug import tasks

# tasks whose `task` numbers the columns of one `targets` vector; that of others names the items' labels
NUMBERED = ("tasks.MultipleBinaryClassification",)
# tasks that do either
EITHER = ("tasks.ProteinPropertyPrediction",)
LABELLED = ("tasks.PropertyPrediction", *NUMBERED, *EITHER)
# key of the vector in an item
TARGETS = "targets"


def kind(config):
    """Return the registry key of the task, and whether it is trained on labels of proteins."""
    cls = find_class(config["task"]["class"], "task")
    key = getattr(cls, "_registry_key", cls.__name__)
    return key, key in LABELLED


def per_residue(config):
    """Whether labels are those of residues, attributes of the graph."""
    return config["task"].get("level") == "residue"


def counts(config):
    """
    Return how many labels a dataset has, where its class knows that without data.

    Returns:
        dict: for a label of classes their number, ``{"fold_label": 1195}``; of the columns of ``targets`` theirs
    """
    dataset = config["dataset"]
    count = getattr(find_class(dataset["class"], "dataset"), "label_counts", None)
    known = count(dataset) if callable(count) else {}
    return {name: number for name, number in known.items() if number}


def numbered(config, dataset=None):
    """
    Whether the labels are columns of ``targets``.

    Parameters:
        config (dict): configuration
        dataset (Dataset, optional): the data, where they are open
    """
    key = kind(config)[0]
    if key not in EITHER:
        return key in NUMBERED
    wanted = config["task"].get("task")
    if wanted:
        wanted = [wanted] if isinstance(wanted, (str, int)) else list(wanted)
        return all(isinstance(label, int) for label in wanted)
    if per_residue(config) or "bce" not in criteria(config["task"]):
        return False
    if dataset is not None:
        return TARGETS in dataset[0]
    known = counts(config)
    return TARGETS in known or config["dataset"].get("kind") == "multilabel" or not (
        known or config["dataset"].get("target"))


def names(config):
    """
    Return what the configuration itself says about the labels, without opening data.

    Returns:
        list or None: ``task.task`` as a list, else all that the class of the dataset knows, else ``dataset.target``,
        else None for not known
    """
    wanted = config["task"].get("task")
    if not wanted:
        known, columns = counts(config), numbered(config)
        if columns and TARGETS in known:
            return list(range(known[TARGETS]))
        wanted = None if columns else [name for name in known if name != TARGETS] or config["dataset"].get("target")
    if not wanted:
        return None
    return [wanted] if isinstance(wanted, (str, int)) else list(wanted)


def num_classes(config, label):
    """Return the number of classes of a label as far as the configuration says it, or None."""
    given = config["task"].get("num_class")
    if isinstance(given, (list, tuple)):
        wanted = names(config) or []
        given = given[wanted.index(label)] if label in wanted and len(given) == len(wanted) else None
    return given or counts(config).get(label)


def fill_in(config, dataset):
    """
    Let a task that does not say which labels it predicts take all that the dataset has, as the scripts of the
    GearNet repository do, and refuse labels that it does not have.

    Parameters:
        config (EasyDict): configuration, changed in place
        dataset (Dataset): dataset, with ``tasks`` when it has labels, and for classes ``num_classes`` and
            ``classes`` by label
    """
    cls = find_class(config["task"]["class"], "task")
    available = getattr(dataset, "tasks", None)
    takes_labels = issubclass(cls, tasks.Task) and "task" in arguments(cls)[0]
    if takes_labels and available and not per_residue(config):
        columns = numbered(config, dataset)
        if not config["task"].get("task"):
            config["task"]["task"] = list(range(len(available))) if columns else list(available)
        elif kind(config)[1]:
            _check_there(config, available, columns)
    if takes_labels and "num_class" in arguments(cls)[0]:
        _fit_classes(config, dataset)


def _check_there(config, available, columns):
    """Refuse labels that a dataset does not have."""
    wanted, data = names(config), config["dataset"]["class"]
    if columns:
        wrong = [label for label in wanted if not (isinstance(label, int) and 0 <= label < len(available))]
        if wrong:
            raise ConfigError("task.task", "`%s` is no label of %s, which has %d, numbered from 0: leave `task` out to "
                              "predict all" % (wrong[0], data, len(available)))
        return
    wrong = [label for label in wanted if label not in available]
    if wrong:
        raise ConfigError("task.task", "`%s` is no label of %s.%s It has: %s" % (
            wrong[0], data, did_you_mean(wrong[0], available), listing(available)))


def criteria(task):
    """Return the names of the criteria of a task, by default those of its class."""
    given = task.get("criterion")
    if given is None:
        known = arguments(find_class(task["class"], "task"))[0]
        given = known["criterion"].default if "criterion" in known else ()
    return [given] if isinstance(given, str) else list(given or ())


def _fit_classes(config, dataset):
    """Fill in the number of classes, and refuse one that is too small and errors between names of classes."""
    task, present = config["task"], getattr(dataset, "num_classes", None)
    wanted = task.get("task")
    wanted = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if not isinstance(present, dict) or not wanted or not set(wanted) <= set(present):
        return
    known, kinds = getattr(dataset, "classes", {}), getattr(dataset, "kinds", {})
    if "mse" in criteria(task):
        for name in wanted:
            classes = known.get(name) or []
            if kinds.get(name) == "class" and list(classes) != [str(i) for i in range(len(classes))]:
                raise ConfigError("task.criterion", "`mse` is for numbers, but `%s` holds names of classes (`%s`, "
                                  "...). Set `criterion: ce`, or another column" % (name, classes[0]))
    if "ce" not in criteria(task):
        return
    for name in wanted:
        if kinds.get(name) == "number":
            raise ConfigError("task.criterion", "`ce` is for classes, but `%s` holds numbers. Set `criterion: mse`, or "
                              "another column" % name)
    present = [present[name] for name in wanted]
    given = task.get("num_class")
    if given is None:
        # of the whole table: a class may be in the validation or test set alone
        task["num_class"] = present
        return
    given = [given] if isinstance(given, int) else given
    if isinstance(given, list) and len(given) == len(present):
        for name, count, least in zip(wanted, given, present):
            if count < least:
                raise ConfigError("task.num_class", "is %s, but `%s` has %d classes in the data; leave it out, or "
                                  "give at least %d" % (count, name, least, least))


# === what the data call them ===


def of_dataset(config, dataset):
    """
    Return the labels that a task predicts as the data call them, for results and checkpoints.

    Parameters:
        config (dict): configuration with ``task.task`` filled in
        dataset (Dataset): the data

    Returns:
        dict: ``{"targets": names of the columns}``, or for each label the names of its classes, None for a number;
        empty where the task is trained on no labels
    """
    if not kind(config)[1] or per_residue(config) or not names(config):
        return {}
    available = list(getattr(dataset, "tasks", None) or ())
    if numbered(config, dataset):
        return {TARGETS: [str(available[i]) if i < len(available) else str(i) for i in names(config)]}
    classes, number = getattr(dataset, "classes", None) or {}, "mse" in criteria(config["task"])
    found = {}
    for name in names(config):
        known = classes.get(name)
        found[name] = None if number or not known else [str(label) for label in known]
    return found


def base(dataset, indices=None):
    """Return what a subset is of, and the numbers of its items in that."""
    indices = list(range(len(dataset))) if indices is None else indices
    while isinstance(dataset, torch_data.Subset):
        indices = [dataset.indices[i] for i in indices]
        dataset = dataset.dataset
    return dataset, indices


def item_names(dataset):
    """Return the names of the items of a set, their numbers in the dataset where it has no names."""
    whole, indices = base(dataset)
    known = getattr(whole, "names", None)
    if known is None or len(known) != len(whole):
        return [str(i) for i in indices]
    return [str(known[i]) for i in indices]


def occurrences(dataset, label, size):
    """
    Count how often each class of a label, or column of ``targets``, is in a set.

    Parameters:
        dataset (Dataset): set
        label (str): key of an item
        size (int): number of classes or columns
    """
    whole, indices = base(dataset)
    # labels alone, without making a graph, where a dataset can do that
    get = whole.labels if callable(getattr(whole, "labels", None)) else whole.__getitem__
    found = torch.zeros(size)
    for i in indices:
        value = get(i)[label]
        if label == TARGETS:
            found += torch.as_tensor(value, dtype=torch.float)[:size].nan_to_num()
        elif not math.isnan(float(value)):
            found[int(value)] += 1
    return found.long().tolist()
