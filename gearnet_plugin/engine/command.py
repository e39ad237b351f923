"""The command line of script/run.py."""
import os
import sys
import traceback

import click

from gearnet_plugin.engine import launch, world
from gearnet_plugin.engine.build import check_all, describe
from gearnet_plugin.engine.config import missing, override, parse, parse_value, read_text, render, variables
from gearnet_plugin.engine.dryrun import dry_run, table
from gearnet_plugin.engine.errors import ConfigError, TrainingStopped, did_you_mean, listing
from gearnet_plugin.engine.options import RunOptions
from gearnet_plugin.engine.runner import run
from gearnet_plugin.engine.schema import complete, parse_gpus
from gearnet_plugin.engine.smoke import shrink
from gearnet_plugin.engine.stock import to_stock
from gearnet_plugin.translate import translate

USAGE_ERROR = 2
HELP = (
    "Train what a configuration describes. Variables that the file names are options too (-c FILE --help).\n\n"
    "Files of TorchDrug, the GearNet repository and ESM-GearNet are taken as they are: what is translated is printed. "
    "To evaluate a trained run on the data of a file: --set checkpoint=RUN train.num_epoch=0.")
# variables with an option of their own, and the value that a file gets when the option is not given
OWN_VARIABLES = {"gpus": None, "seed": 0, "nproc": None}

_OPTIONS = [
    click.Option(["-c", "--config"], required=True, metavar="FILE", help="Configuration in YAML."),
    click.Option(["--gpus"], metavar="IDS",
                 help="GPU ids such as 0,1 or [0,1]; null for CPU. Each gets a worker of its own."),
    click.Option(["--nproc"], type=int, metavar="N", help="Number of processes on CPU."),
    click.Option(["--set", "assignments"], multiple=True, metavar="KEY.PATH=VALUE",
                 help="Change a value of the file, such as optimizer.lr=1e-3; keys as the file has them, before "
                      "anything is translated. May be repeated."),
    click.Option(["--seed"], type=click.IntRange(min=0), help="Seed, instead of the file's."),
    click.Option(["--stock"], is_flag=True, help="Use TorchDrug's own classes, for comparison; translates nothing."),
    click.Option(["--smoke"], is_flag=True, help="Two steps on bundled structures at width 32."),
    click.Option(["--dry-run"], is_flag=True, help="Show what would be trained and what is missing."),
    click.Option(["--no-download"], is_flag=True, help="Use no network: what is missing is an error that says where to "
                                                       "get it."),
    click.Option(["--out"], metavar="DIR", help="Exactly this output folder."),
]


def main(args=None):
    """
    Run a command line and return its exit code.

    Parameters:
        args (list of str, optional): arguments; by default those of this process
    """
    args = list(sys.argv[1:] if args is None else args)
    try:
        params = _parse(args)
        return _execute(params)
    except click.exceptions.Exit as error:  # --help
        return error.exit_code
    except click.UsageError as error:
        return _fail(error.format_message(), USAGE_ERROR)
    except (ConfigError, TrainingStopped) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        if not os.environ.get(launch.WORKER):
            click.echo("interrupted", err=True)
        return launch.INTERRUPTED
    except (ValueError, OSError) as error:
        # what data and files get wrong; log.txt has the traceback of a run that had started
        return _fail(describe(error))
    except Exception as error:  # noqa: BLE001  the run.py that started this worker should tell it
        if world.lost_connection(error):
            return _fail("lost the connection to another rank")
        return _fail("unexpected, please report it:\n%s" % traceback.format_exc())


def _fail(message, code=1):
    if not launch.report_failure(message):
        click.echo("error: %s" % message, err=True)
    return code


def _parse(args):
    """Return the parameters of a command line; the variables that the file names are options of it."""
    config = _config_argument(args)
    text = read_text(config) if config else None
    names = variables(text, config) if text is not None else []
    taken = {name for option in _OPTIONS for name in [option.name]}
    clash = [name for name in names if name in taken - set(OWN_VARIABLES)]
    if clash:
        raise ConfigError("", "the variable `%s` has the name of an option of run.py; rename it" % clash[0],
                          config)
    own = {"variable_%d" % i: name for i, name in enumerate(names) if name not in OWN_VARIABLES}
    options = [click.Option([*_spellings(name), key], metavar="VALUE", help="Variable of the file.")
               for key, name in own.items()]
    more = click.Argument(["more"], nargs=-1, metavar="")
    command = click.Command("run.py", params=[*_OPTIONS, *options, more], help=HELP)
    try:
        with command.make_context("run.py", args) as context:
            params = dict(context.params)
    except click.NoSuchOption as error:
        known = [spelling for name in names for spelling in _spellings(name)]
        options = [opt for option in _OPTIONS for opt in option.opts if opt.startswith("--")]
        raise click.UsageError(
            "%sthere is no option `%s`, and the file names no such variable.%s Variables it names: %s. "
            "Options: %s" % ("%s: " % config if config else "", error.option_name,
                             did_you_mean(error.option_name, known + options), listing(names),
                             listing(options))) from None
    params.update(text=text, names=names, variables={name: params.pop(key) for key, name in own.items()})
    # `--set a=1 b=2`: what follows
    params["assignments"] = list(params["assignments"]) + list(params.pop("more"))
    return params


def _spellings(name):
    return list(dict.fromkeys(["--" + name, "--" + name.replace("_", "-")]))


def _config_argument(args):
    """Return the file after -c without knowing the other options yet."""
    for i, arg in enumerate(args):
        if arg in ("-c", "--config") and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith("--config="):
            return arg.partition("=")[2]
        if arg.startswith("-c") and not arg.startswith("--") and len(arg) > 2:
            return arg[2:]
    return None


def _execute(params):
    source = params["config"]
    if params["dry_run"] and params["smoke"]:
        raise click.UsageError("--dry-run builds without data and --smoke trains: give one of them")
    config, not_given = _load(params)
    try:
        speaks = world.is_first() and not os.environ.get(launch.WORKER)
        translated = []
        if not params["stock"]:
            config, translated = translate(config)
            for line in translated if speaks else ():
                click.echo("translated: %s" % line)
        config = complete(config)
        if params["seed"] is not None:
            config.seed = params["seed"]
        replaced = []
        check_all(config)
        if params["stock"]:
            config, replaced = to_stock(config)
            config = complete(config)
        if params["smoke"]:
            config = shrink(config)
        check_all(config)
        for line in replaced if speaks else ():
            click.echo("stock: %s" % line)
        if params["dry_run"]:
            click.echo("%s: dry run, no data were opened and nothing was trained" % source)
            click.echo(table(dry_run(config, not_given, params["nproc"])))
            return 0
        count = launch.workers_wanted(config.engine.gpus, params["nproc"])
        if count > 1 and not world.inside_job():
            return launch.start(count)
        result = run(config, RunOptions(name=os.path.splitext(os.path.basename(source))[0], out=params["out"],
                                        smoke=params["smoke"], stock=params["stock"],
                                        translated=translated, download=not params["no_download"], source=source))
    except ConfigError as error:
        raise error.located(source) from error.__cause__
    if world.is_first():
        click.echo("outputs are in %s" % result.folder)
    return 0


def _load(params):
    """Return the rendered configuration with overrides, and the variables that have no value yet."""
    source, names, values = params["config"], params["names"], {}
    for name, text in params["variables"].items():
        if text is not None:
            values[name] = parse_value(text, "--" + name)
    for name, default in OWN_VARIABLES.items():
        if name in names:
            value = params[name]
            values[name] = default if value is None else parse_value(value) if name == "gpus" else value
    not_given = missing(params["text"], values, source)
    if params["dry_run"] or params["smoke"]:
        # neither opens what the variables point to
        values.update(dict.fromkeys(not_given))
    config = parse(render(params["text"], values, source), source)
    if params["gpus"] is not None and "gpus" not in names:
        engine = config.setdefault("engine", {})
        if isinstance(engine, dict):
            engine["gpus"] = parse_gpus(parse_value(params["gpus"]), "--gpus")
    try:
        return override(config, params["assignments"]), not_given
    except ConfigError as error:
        raise error.located(source) from None
