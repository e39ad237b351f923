"""
The classes of torch that TorchDrug registers: ``optim.*``, ``scheduler.*``, ``dataset.*``. Each is a subclass
of torch's that records its arguments; torch's own stay as they are.
"""
import inspect


def register_schedulers():
    """
    torch >= 2.0: ``StepLR`` and the others derive from ``LRScheduler`` and no longer from ``_LRScheduler``,
    by which TorchDrug looks for what it registers. Register them as it would: all but the abstract base.
    """
    from torch.optim import lr_scheduler

    from torchdrug import core

    registered = core.Registry.table["scheduler"]
    for name, cls in inspect.getmembers(lr_scheduler, inspect.isclass):
        abstract = name.endswith("LRScheduler")
        if issubclass(cls, lr_scheduler.LRScheduler) and not abstract and name not in registered:
            core.Registry.register("scheduler.%s" % name)(_configurable_scheduler(cls))


def _configurable_scheduler(cls):
    from torchdrug import core

    ignored = {"optimizer"} & set(inspect.signature(cls.__init__).parameters)
    configurable = core.make_configurable(cls, ignore_args=ignored)

    def state_dict(self):
        state = cls.state_dict(self)
        # the recorded arguments may hold functions and other schedulers, which no safe load would take
        state.pop("_config", None)
        return state

    state_dict.__doc__ = cls.state_dict.__doc__
    configurable.state_dict = state_dict
    return configurable


def make_importable():
    """
    Every version: a registered class bears the name of torch's class but is another one, so its objects (a
    ``Subset`` built from a config, sent to a loader's worker) cannot be pickled. Give each a place where
    pickle finds it: here.
    """
    from torchdrug import core

    for kind in ("optim", "scheduler", "dataset"):
        for name, cls in core.Registry.table[kind].items():
            cls.__module__ = __name__
            cls.__qualname__ = "%s_%s" % (kind, name)
            globals()[cls.__qualname__] = cls
