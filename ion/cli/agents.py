"""``ion agents``: which stand-alone agents there are."""

from __future__ import annotations

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown, when


@click.command(name="agents")
@click.option(
    "--late", type=click.FloatRange(min=1), default=90.0, show_default=True, help="Seconds after which one is late."
)
@json_option
def command(late: float, *, as_json: bool) -> None:
    """List the agents that ship for whole hosts: when each was last heard of, how far behind it is; 1 if one is late.

    Example: ion agents --late 300
    """
    from ion.clock import now_us
    from ion.graph.agents import agents

    with opened() as asked:
        found = agents(asked.store, now_us(), late)
    if as_json:
        print_json({"agents": [each.as_dict() for each in found]})
    else:
        out = console()
        if not found:
            out.print("No stand-alone agent has reported; programs ship for themselves.")
        styles = {"alive": "green", "late": "red"}
        for each in found:
            told = each.as_dict()
            line = f"{each.name}  {each.state}  seen {when(told['seen'])}  fact {each.acknowledged}"
            line += f"  lag {each.lag_seconds:.0f} s, {each.spool_bytes} bytes wait"
            line += f", clock {each.ahead_seconds:.0f} s ahead" if each.ahead_seconds else ""
            out.print(shown(line), style=styles.get(each.state, "dim"), soft_wrap=True)
    if any(each.state == "late" for each in found):
        did_not_hold()
