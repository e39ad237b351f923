"""Which labels the task of a configuration wants."""
from gearnet_plugin.engine.build import arguments, find_class
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
        dataset (Dataset): dataset, with ``tasks`` when it has labels
    """
    cls = find_class(config["task"]["class"], "task")
    available = getattr(dataset, "tasks", None)
    takes_labels = issubclass(cls, tasks.Task) and "task" in arguments(cls)[0]
    if takes_labels and available and config["task"].get("task") is None:
        numbered = kind(config)[0] in NUMBERED
        config["task"]["task"] = list(range(len(available))) if numbered else list(available)
