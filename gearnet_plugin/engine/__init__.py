"""
From a YAML file to a finished run.

- :mod:`.config` renders (:mod:`.template`) and reads (:mod:`.values`) the file, :mod:`.schema` checks
  its sections, :mod:`.build` its classes;
- :mod:`.command` is the command line, :mod:`.launch` starts several processes, :mod:`.world` joins them;
- :mod:`.runner` is one run, with :mod:`.options`, on the objects that :mod:`.assemble` makes; :mod:`.groups` parts the
  parameters by learning rate, :mod:`.evaluation` compares epochs, :mod:`.sampling` gives each process its items;
- :mod:`.labels`, :mod:`.heads` and :mod:`.precheck` compare with data and weights, :mod:`.weight_files` has the files
  of sequence models;
- :mod:`.recorder` and :mod:`.logs` tell how it goes; :mod:`.outputs`, :mod:`.checkpoint` and :mod:`.results` write the
  files;
- :mod:`.dryrun`, :mod:`.smoke` and :mod:`.stock` are the options of these names.
"""
from gearnet_plugin.engine.errors import ConfigError, TrainingStopped
from gearnet_plugin.engine.options import RunOptions, RunResult
from gearnet_plugin.engine.runner import run

__all__ = ["ConfigError", "TrainingStopped", "RunOptions", "RunResult", "run"]
