"""``ion store``: upkeep of the governance store."""

from __future__ import annotations

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json
from ion.cli.keeping import backup, migrate, points, restore


@click.group(name="store")
def command() -> None:
    """Look after the governance store.

    Example: ion store rebuild
    """


@command.command(name="rebuild")
@json_option
def rebuild(*, as_json: bool) -> None:
    """Fold all facts into the projections again; exit with 1 if that changed anything.

    Facts are the record; projections are what makes asking fast. A change means that somebody
    or something had altered them.

    Example: ion store rebuild
    """
    with opened() as asked:
        before = asked.store.projections()
        facts = asked.store.rebuild()
        changed = sorted(name for name, rows in asked.store.projections().items() if rows != before[name])
    if as_json:
        print_json({"facts": facts, "changed": changed})
    else:
        console().print(
            f"{facts} facts folded; " + (f"changed: {', '.join(changed)}" if changed else "nothing changed")
        )
    if changed:
        did_not_hold()


@command.command(name="ship")
@json_option
def ship(*, as_json: bool) -> None:
    """Carry what agents of this host have spooled into the store.

    A running agent does this by itself; this is for what a killed program left behind.

    Example: ion store ship
    """
    from ion.agent.hands import ship_home

    with opened() as asked:
        ship_home(asked.home, asked.store, wait=True)  # again: `opened` keeps trouble to itself, here it is the answer
        facts = asked.store.head().position
        spool = asked.home.spool
        waiting = sorted(folder.name for folder in spool.iterdir() if folder.is_dir()) if spool.is_dir() else []
    if as_json:
        print_json({"facts": facts, "open_spools": waiting})
    else:
        open_now = f"; {len(waiting)} agents are at work" if waiting else ""
        console().print(f"everything spooled is shipped: the store holds {facts} facts{open_now}")


@command.command(name="compact")
@json_option
def compact(*, as_json: bool) -> None:
    """Pack stored statistics into fewer, larger rows; no point changes, and every digest still verifies.

    The sensor `compaction` does this every ten minutes; each run that was packed is a fact.

    Example: ion store compact
    """
    with opened() as asked:
        packed = list(asked.store.statistics.compact_all())
    rows, sealed, points = (sum(getattr(fact, name) for fact in packed) for name in ("rows", "sealed", "points"))
    if as_json:
        print_json({"rows": rows, "sealed": sealed, "points": points})
    else:
        console().print(f"{points} points in {rows} rows now stand in {sealed}" if rows else "nothing to pack")


command.add_command(migrate.command)
command.add_command(backup.command)
command.add_command(restore.command)
command.add_command(points.export)
command.add_command(points.check)
