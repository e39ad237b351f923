"""
The command ``gearnet``: what one does with structures and trained encoders outside a training run.

A module a command; each imports what it needs when it is called, so that ``gearnet --help`` is there at once.
"""
import sys

import click

from gearnet_plugin import __version__

from .doctor import doctor
from .embed import embed
from .predict import predict
from .prepare import prepare

USAGE_ERROR = 2
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gearnet")
def gearnet():
    """Protein structures and encoders of gearnet-plugin. `gearnet COMMAND --help` tells more."""


gearnet.add_command(prepare)
gearnet.add_command(doctor)
gearnet.add_command(embed)
gearnet.add_command(predict)


def main(args=None):
    """
    Run a command line and return its exit code: 0, or 1 for an error, 2 for a wrong command line and where ``--strict``
    finds something left out, 130 if interrupted.

    Parameters:
        args (list of str, optional): arguments; by default those of this process
    """
    try:
        code = gearnet.main(args=args, prog_name="gearnet", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return USAGE_ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # `gearnet doctor STORE | head`
        sys.stderr.close()
        return 1
    except (ValueError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        return 1
