"""
Run an unmodified TorchDrug script where TorchDrug cannot be imported by itself:

    python -m gearnet_plugin.compat script.py [argument ...]
    python -m gearnet_plugin.compat -m module [argument ...]

The process is the script's, as if TorchDrug had been imported in it: `import torch_scatter` and `import
torch_cluster` work, the log goes to the standard output, every `nn.Module` has a `.device`. Child processes
that are spawned rather than forked import TorchDrug by themselves: for those put `import gearnet_plugin`
before it in the script.
"""
import logging
import os
import runpy
import sys


def give_process_to_script():
    """Let the process be as TorchDrug's import would have left it, as far as scripts can tell."""
    import torchdrug
    from gearnet_plugin.compat import missing, modules

    missing.put()
    modules.all_modules()
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger().addHandler(torchdrug.handler)


def main(arguments):
    """Run the script or module that ``arguments`` name, as ``__main__``, and return the exit code."""
    usage = __doc__.strip()
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(usage + "\n")
        return 0
    as_module = arguments[:1] == ["-m"]
    arguments = arguments[as_module:]
    if not arguments or arguments[0].startswith("-"):
        wrong = "No %s given" % ("module" if as_module else "script")
        if arguments:
            wrong = "`%s` is no option" % arguments[0]
        sys.stderr.write("%s.\n\n%s\n" % (wrong, usage))
        return 2
    name = arguments[0]
    if not as_module and not os.path.exists(name):
        sys.stderr.write("No script `%s` in %s. Give the path of a Python file, or `-m` and a module.\n"
                         % (name, os.getcwd()))
        return 2

    sys.argv[:] = arguments
    give_process_to_script()
    if as_module:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = os.path.dirname(os.path.abspath(name))
        runpy.run_path(name, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
