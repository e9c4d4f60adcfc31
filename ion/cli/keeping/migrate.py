"""``ion store migrate``: give an older store the tables of this version."""

from __future__ import annotations

import click

from ion.cli.answering import console, json_option, print_json, require_state, shown
from ion.home import Home


@click.command(name="migrate")
@json_option
def command(*, as_json: bool) -> None:
    """Bring an older store to the format of this version.

    One transaction: killed at any moment it leaves the old store or the new one. Programs of the older version
    keep their facts in their spools until they are updated, too. Make a backup first.

    Example: ion store migrate
    """
    from ion.store.migrating import migrate

    home = Home.find()
    require_state(home)
    done = migrate(home.store_url)
    if as_json:
        print_json({"before": done.before, "after": done.after, "changed": done.before != done.after})
    elif done.before == done.after:
        console().print(shown(f"the store is a {done.after} already"))
    else:
        console().print(shown(f"the store was a {done.before}, now it is a {done.after}"))
