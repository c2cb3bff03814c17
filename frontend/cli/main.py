"""The command `gapscope`. A command's module is imported when the command is called, so that help comes at once."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("frontend.cli.stack:up", "Start everything on this machine; Ctrl-C stops it."),
    "demo": ("frontend.cli.demo:demo", "Start everything and train a comparison on built-in clips."),
    "launch": ("frontend.cli.launch:launch", "Launch a training run."),
    "watch": ("frontend.cli.watch:watch", "Follow a run until it ends."),
    "runs": ("frontend.cli.runs:runs", "List runs."),
    "cancel": ("frontend.cli.changes:cancel", "Cancel runs."),
    "resume": ("frontend.cli.changes:resume", "Resume failed or cancelled runs."),
    "delete": ("frontend.cli.changes:delete", "Delete runs (to the trash)."),
    "samples": ("frontend.cli.samples:samples", "List samples of a run with their score gaps."),
    "tag": ("frontend.cli.tag:tag", "Tag or annotate clips of a dataset."),
    "subsets": ("frontend.cli.subsets:subsets", "List saved subsets of training samples."),
    "score": ("frontend.cli.score:score", "Score a clip with a run's model."),
    "score-batch": ("frontend.cli.score_batch:score_batch", "Score a folder or a manifest of clips into a table."),
    "export": ("frontend.cli.export:export", "Write a run's table into a file."),
    "bench": ("frontend.cli.bench:bench", "Run benchmarks on a running Gapscope."),
    "keys": ("frontend.cli.stack:keys", "Make, list and revoke API keys."),
    "backup": ("frontend.cli.stack:backup", "Write a home into a file, while its runs go on."),
    "restore": ("frontend.cli.stack:restore", "Make a home from a backup."),
    "doctor": ("frontend.cli.stack:doctor", "Check this machine and say what is in the way."),
}
"""Name -> where the command is, and its line in the help."""


class LazyGroup(click.Group):
    """A group that imports a command when it is needed, and turns errors for people into one line."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Returns the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Returns a command, importing its module."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, context: click.Context) -> Any:
        """Runs a command; a GapscopeError becomes a line on standard error and exit status 1."""
        try:
            return super().invoke(context)
        except Exception as error:
            if _is_expected(error):
                raise click.ClickException(_explained(error)) from None
            raise


def _is_expected(error: Exception) -> bool:
    errors = sys.modules.get("worker.contract.errors")  # loaded, if anything could raise one
    return errors is not None and isinstance(error, errors.GapscopeError)


def _explained(error: Exception) -> str:
    text = str(error)
    others = []
    for problem in getattr(error, "errors", None) or ():
        fault = problem.sentence
        if text.startswith(fault):  # the sentence is that of its first field
            text = f"{fault} {problem.remedy}"
        else:
            others.append(f"  {fault} {problem.remedy}")
    return "\n".join([text, *others])


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"gapscope {version('gapscope')}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli() -> None:
    """See, sample by sample, how unevenly an audio-visual model learns, and train it so that it does not.

    `gapscope demo` shows it. Commands other than up, demo, keys, backup, restore and doctor talk to a running
    Gapscope: the one at GAPSCOPE_API_URL, else the one that serves GAPSCOPE_HOME (or ./home), else http://127.0.0.1:8000.
    """


def main() -> None:
    """Runs the command line."""
    cli(prog_name="gapscope")
