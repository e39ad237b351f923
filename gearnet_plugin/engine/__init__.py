"""
From a YAML file to a finished run.

- :mod:`.config` renders (:mod:`.template`) and reads (:mod:`.values`) the file, :mod:`.schema` checks
  its sections, :mod:`.build` its classes;
- :mod:`.command` is the command line, :mod:`.launch` starts several processes, :mod:`.world` joins them;
- :mod:`.runner` is one run on the objects that :mod:`.assemble` makes; :mod:`.evaluation` compares epochs,
  :mod:`.sampling` gives each process its items, :mod:`.labels` and :mod:`.precheck` compare with data and weights;
- :mod:`.recorder` and :mod:`.logs` tell how it goes; :mod:`.outputs` and :mod:`.checkpoint` write the files;
- :mod:`.dryrun`, :mod:`.smoke` and :mod:`.stock` are the options of these names.
"""
from gearnet_plugin.engine.errors import ConfigError, TrainingStopped
from gearnet_plugin.engine.runner import RunOptions, RunResult, run

__all__ = ["ConfigError", "TrainingStopped", "RunOptions", "RunResult", "run"]
