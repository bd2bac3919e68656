"""Help in sections: a command with many options lists them by what they are about."""

from typing import Any

import click


class SectionedOption(click.Option):
    """An option that says which section of the help it belongs to."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose options are listed in sections, in the order in which they first appear.

    Those that belong to none come last.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        others: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, SectionedOption) and record is not None:
                sections.setdefault(parameter.section, []).append(record)
            elif isinstance(parameter, click.Option) and record is not None:
                others.append(record)
        for name, records in {**sections, "Other options": others}.items():
            with formatter.section(name):
                formatter.write_dl(records)
