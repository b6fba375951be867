"""`pcscf gateways`: how the gateways of a running P-CSCF are, and what an operator can do with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pcscf.cli.asking import ask
from pcscf.cli.options import ConfigFile, Overrides

app = typer.Typer(no_args_is_help=True)

Mid = Annotated[str, typer.Argument(metavar="GATEWAY", help='Its mId, e.g. "[192.0.2.21]:2945".')]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def status(file: ConfigFile, as_json: AsJson = False, metrics: Annotated[
        bool, typer.Option("--metrics", help="As Prometheus reads it.")] = False, overrides: Overrides = None) -> None:
    """Tell how the gateways are: state, load, sessions, and what became of what they were asked for."""
    if metrics:
        typer.echo(ask(file, overrides, {"do": "metrics"})["metrics"], nl=False)
        return
    told = ask(file, overrides, {"do": "status"})["gateways"]
    typer.echo(json.dumps(told) if as_json else "\n".join(as_text(told)))


@app.command()
def drain(file: ConfigFile, gateway: Mid, overrides: Overrides = None) -> None:
    """Give a gateway no new sessions; those it has go on."""
    _show(ask(file, overrides, {"do": "drain", "gateway": gateway}))


@app.command()
def resume(file: ConfigFile, gateway: Mid, overrides: Overrides = None) -> None:
    """Give a drained gateway new sessions again."""
    _show(ask(file, overrides, {"do": "resume", "gateway": gateway}))


@app.command()
def register(file: ConfigFile, gateway: Mid, overrides: Overrides = None) -> None:
    """Order a gateway to register anew; its sessions go on."""
    _show(ask(file, overrides, {"do": "register", "gateway": gateway}))


@app.command()
def hand_off(
    file: ConfigFile, gateway: Mid,
    to: Annotated[str, typer.Argument(metavar="MID", help='The other controller, e.g. "[192.0.2.8]:2944".')],
    wait: Annotated[float, typer.Option(min=0, help="Seconds that its sessions get to end by themselves.")] = 0.0,
    overrides: Overrides = None,
) -> None:
    """Send a gateway to another controller; sessions that it still has then are released."""
    _show(ask(file, overrides, {"do": "hand-off", "gateway": gateway, "to": to, "wait": wait}, wait))


def _show(answer: dict[str, Any]) -> None:
    typer.echo("\n".join(as_text(answer["gateways"])))


def as_text(gateways: list[dict[str, Any]]) -> Iterator[str]:
    """For people."""
    if not gateways:
        yield "no gateway has registered yet"
    for each in gateways:
        marks = [name for name in ("drained", "suspect") if each[name]]
        marks += [f"gets {each['share']:.0%} of new sessions"] if each["share"] < 1 else []
        yield f"{each['mid']}   {each['state']}" + "".join(f", {mark}" for mark in marks)
        yield f"    at        {each['address'].replace(' ', ' port ') or 'no address yet'}"
        yield (f"    sessions  {each['sessions']}, {each['reserving']} reserving, {each['releasing']} releasing; "
               f"{each['transactions']} requests unanswered")
        yield f"    weight    {each['weight']}"
        for title in ("realms", "packages"):
            yield f"    {title:9} {'not known' if each[title] is None else ', '.join(each[title])}"
        if each["counts"]:
            yield "    counts    " + ", ".join(f"{name}: {number}" for name, number in each["counts"].items())
