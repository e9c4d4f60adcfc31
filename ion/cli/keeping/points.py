"""``ion store export-points`` and ``check-points``: statistics as Parquet files."""

from __future__ import annotations

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown


@click.command(name="export-points")
@click.argument("url")
@json_option
def export(url: str, *, as_json: bool) -> None:
    """Write the points of all statistics to URL as Parquet, a file for each run.

    URL is a folder, or an address that fsspec knows (s3://…). Spark and DuckDB read the files; `ion store
    check-points` compares them with the facts, also after `ion retain` removed the points here.

    Example: ion store export-points /mnt/cold/2027-01
    """
    from ion.interop.exported_points import export_points

    with opened() as asked:
        done = export_points(asked.store, url)
    if as_json:
        print_json(done.as_dict())
    else:
        console().print(shown(f"{done.points} points of {done.leaves} facts in {done.files} files"))


@click.command(name="check-points")
@click.argument("url")
@json_option
def check(url: str, *, as_json: bool) -> None:
    """Compare an export of statistics with the facts; exit with 1 when anything differs.

    Example: ion store check-points /mnt/cold/2027-01
    """
    from ion.interop.exported_points import check_points

    with opened() as asked:
        done = check_points(asked.store, url)
    if as_json:
        print_json({"ok": not done.problems, **done.as_dict()})
    else:
        out = console()
        for problem in done.problems:
            out.print(shown(f"✗ {problem}"), style="red", soft_wrap=True)
        if not done.problems:
            out.print(f"✓ {done.points} points of {done.leaves} facts are those told", style="green")
    if done.problems:
        did_not_hold()
