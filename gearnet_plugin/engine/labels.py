"""Which labels the task of a configuration wants."""
from gearnet_plugin.engine.build import arguments, find_class
from gearnet_plugin.engine.errors import ConfigError
from torchdrug import tasks

# tasks whose `task` numbers the columns of one `targets` vector; that of others names the items' labels
NUMBERED = ("tasks.MultipleBinaryClassification",)
LABELLED = ("tasks.PropertyPrediction", *NUMBERED)


def kind(config):
    """Return the registry key of the task, and whether it is trained on labels of whole proteins."""
    cls = find_class(config["task"]["class"], "task")
    key = getattr(cls, "_registry_key", cls.__name__)
    return key, key in LABELLED


def names(config):
    """
    Return what the configuration itself says about the labels, without opening data.

    Returns:
        list or None: ``task.task`` as a list, else ``dataset.target``, else None for not known
    """
    wanted = config["task"].get("task")
    if wanted is None:
        wanted = config["dataset"].get("target")
        if wanted is not None and kind(config)[0] in NUMBERED:
            return None
    if wanted is None:
        return None
    return [wanted] if isinstance(wanted, str) else list(wanted)


def fill_in(config, dataset):
    """
    Let a task that does not say which labels it predicts take all that the dataset has, as the scripts of the
    GearNet repository do.

    Parameters:
        config (EasyDict): configuration, changed in place
        dataset (Dataset): dataset, with ``tasks`` when it has labels, and for classes ``num_classes`` and
            ``classes`` by label
    """
    cls = find_class(config["task"]["class"], "task")
    available = getattr(dataset, "tasks", None)
    takes_labels = issubclass(cls, tasks.Task) and "task" in arguments(cls)[0]
    if takes_labels and available and config["task"].get("task") is None:
        numbered = kind(config)[0] in NUMBERED
        config["task"]["task"] = list(range(len(available))) if numbered else list(available)
    if takes_labels and "num_class" in arguments(cls)[0]:
        _fit_classes(config, dataset)


def criteria(task):
    """Return the names of the criteria of a task."""
    given = task.get("criterion") or ()
    return [given] if isinstance(given, str) else list(given)


def _fit_classes(config, dataset):
    """Fill in the number of classes, and refuse one that is too small and errors between names of classes."""
    task, counts = config["task"], getattr(dataset, "num_classes", None)
    wanted = task.get("task")
    wanted = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if not isinstance(counts, dict) or not wanted or not set(wanted) <= set(counts):
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
    present = [counts[name] for name in wanted]
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
