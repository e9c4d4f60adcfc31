"""``ion server``: agents of other machines report here, and programs ask."""

from __future__ import annotations

from pathlib import Path

import click

from ion.errors import IonError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="server")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--tls-cert", type=_FILE, help="Certificate chain, PEM. Needed on any other address.")
@click.option("--tls-key", type=_FILE, help="Its private key, PEM.")
def command(port: int, host: str, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve the governance store over HTTP: agents report with tokens, programs ask.

    Several may serve one PostgreSQL. What it answers says /openapi.json.

    Example: ion server --host 0.0.0.0 --tls-cert server.pem --tls-key server.key
    """
    import uvicorn

    from ion.agent.remote import is_loopback
    from ion.cli.deployment.ports import require_free
    from ion.home import Home
    from ion.server import server_app
    from ion.store import open_store

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("give both --tls-cert and --tls-key")
    if tls_cert is None and not is_loopback(host):
        hint = "give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has them"
        raise IonError("insecure-url", f"tokens would cross {host} in the clear", hint)
    home = Home.find().make()
    open_store(home.store_url).close()  # a foreign store is refused before anything is served
    require_free(host, port, option="--port")
    scheme = "https" if tls_cert else "http"
    click.echo(f"Governance server  {scheme}://{f'[{host}]' if ':' in host else host}:{port}/")
    uvicorn.run(
        server_app(home),
        host=host,
        port=port,
        log_level="warning",
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        server_header=False,
        h11_max_incomplete_event_size=32 * 1024,
        timeout_graceful_shutdown=30,
    )
