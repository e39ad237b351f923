"""
Configurations of engines that were given torch's own optimizer, scheduler or subsets.

TorchDrug replaces those classes by ones that record their arguments, so ``torch.optim.Adam`` appears in
``Engine.config_dict()``. torch is given back here, so what its objects know of themselves is read from them.
"""
import inspect


def engine_configs():
    """
    Every version: describe torch's objects in ``Engine.config_dict()``; build a scheduler in
    ``load_config_dict()``, which stock cannot, because it comes before its optimizer; leave the given
    configuration as it is.
    """
    from torchdrug import core

    stock_config = core.Engine.config_dict
    stock_load = vars(core.Engine)["load_config_dict"].__func__

    def config_dict(self):
        return {key: describe(value) for key, value in stock_config(self).items()}

    def load_config_dict(cls, config):
        config = dict(config, optimizer=dict(config["optimizer"]))
        scheduler = config.pop("scheduler", None)
        engine = stock_load(cls, config)
        if isinstance(scheduler, dict):
            scheduler = core.Configurable.load_config_dict(dict(scheduler, optimizer=engine.optimizer))
        engine.scheduler = engine._config["scheduler"] = scheduler
        return engine

    config_dict.__doc__ = "Return the arguments of this engine as nested dicts for ``load_config_dict``."
    load_config_dict.__doc__ = stock_load.__doc__
    core.Engine.config_dict = config_dict
    core.Engine.load_config_dict = classmethod(load_config_dict)


def describe(value):
    """
    Return the configuration of an optimizer, scheduler or data set of torch; anything else as it is.

    Of one that does not keep all its arguments (``OneCycleLR``), or is registered nowhere, only the full name
    of its class is given, which nothing can be built from: better than a configuration that builds something
    else.
    """
    from torch import optim
    from torch.optim import lr_scheduler
    from torch.utils import data as torch_data

    from torchdrug import core

    if isinstance(type(value), type(core.Configurable)):
        return value.config_dict()
    bases = {"optim": optim.Optimizer, "scheduler": lr_scheduler.LRScheduler, "dataset": torch_data.Dataset}
    kind = next((kind for kind, base in bases.items() if isinstance(value, base)), None)
    if kind is None:
        return value
    cls = type(value)
    registered = core.Registry.table[kind].get(cls.__name__)
    if registered is not None and issubclass(registered, cls):
        try:
            return {"class": registered._registry_key, **_arguments(value, kind)}
        except LookupError:
            pass
    return {"class": "%s.%s" % (cls.__module__, cls.__qualname__)}


def _arguments(value, kind):
    """The arguments that ``value`` was made of. LookupError: it does not remember one of them."""
    known = value.defaults if kind == "optim" else vars(value)
    arguments = {}
    for name, parameter in inspect.signature(type(value).__init__).parameters.items():
        # a fresh scheduler starts at the beginning; `verbose` prints, and is gone from newer versions
        if name in ("self", "params", "optimizer", "last_epoch", "verbose"):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name not in known:
            raise LookupError(name)
        arguments[name] = _plain(known[name])
    return arguments


def _plain(value):
    if hasattr(value, "tolist"):  # a tensor, an array, or one number of an array
        value = value.tolist()
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    described = describe(value)
    if described is not value:
        return described
    raise LookupError("%s is no plain value" % type(value).__name__)
