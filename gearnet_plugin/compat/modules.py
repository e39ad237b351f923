"""
``module.device`` and graphs as buffers for modules that are defined after TorchDrug gave ``nn.Module`` back.

TorchDrug gives both to every module by replacing ``nn.Module``. Here they come to classes in its own style,
and to every module only in a process that runs a TorchDrug script (see :mod:`.__main__`).
"""
import itertools


class Device:
    """
    Where the first parameter of a module, or else its first buffer, lives.

    Unlike TorchDrug's property it lets a module assign ``self.device``, and a module without any tensor has
    no device.
    """

    def __get__(self, module, owner=None):
        if module is None:
            return self
        for tensor in itertools.chain(module.parameters(), module.buffers()):
            return tensor.device
        raise AttributeError("`%s` has no parameter and no buffer, so no device" % type(module).__name__)


def graph_buffers(register_buffer):
    """Return the method ``register_buffer`` of a module class with ``data.Graph`` added to what it takes."""
    from torchdrug import data

    def register_buffer_or_graph(self, name, tensor, persistent=True):
        if not isinstance(tensor, data.Graph):
            return register_buffer(self, name, tensor, persistent)
        register_buffer(self, name, None, persistent)
        self._buffers[name] = tensor

    register_buffer_or_graph.__doc__ = register_buffer.__doc__
    return register_buffer_or_graph


def configurable_modules():
    """Every version: classes of TorchDrug's style, ``nn.Module, core.Configurable``, get both."""
    from torch import nn

    from torchdrug import core

    # the real one, also where the user's own import of TorchDrug left its replacement in torch
    module_class = next(cls for cls in nn.Module.__mro__ if cls.__module__.startswith("torch."))

    def __init_subclass__(cls, **kwargs):
        super(core.Configurable, cls).__init_subclass__(**kwargs)
        if not issubclass(cls, module_class):
            return
        if not hasattr(cls, "device"):
            cls.device = Device()
        if cls.register_buffer is module_class.register_buffer:
            cls.register_buffer = graph_buffers(module_class.register_buffer)

    core.Configurable.__init_subclass__ = classmethod(__init_subclass__)


def all_modules():
    """Every version: give both to every module of this process, as TorchDrug does."""
    from torch import nn

    if not hasattr(nn.Module, "device"):
        nn.Module.device = Device()
        nn.Module.register_buffer = graph_buffers(nn.Module.register_buffer)
