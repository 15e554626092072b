"""`consent`: the command."""

import logging

import typer

from consent_ledger.cli import (
    campaign,
    consumers,
    decide,
    demo,
    doctor,
    erase,
    evaluate,
    history,
    imports,
    inbound,
    keys,
    log,
    postfix,
    propagation,
    prove,
    publish,
    quarantine,
    reconcile,
    register,
    requests,
    retention,
    rules,
    schema,
    topics,
    unsubscribe,
    up,
    verify,
    void,
    witness,
)

app = typer.Typer(
    name="consent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="An append-only ledger of consent. Exit status: 0, 1 (no, or differences), 2 (usage), 3 (unavailable).",
)


@app.callback()
def consent() -> None:
    """Keep the libraries' own messages away from the output: commands say themselves what is to be known."""
    logging.getLogger().addHandler(logging.NullHandler())


app.command()(up.up)
app.command()(demo.demo)
app.command()(publish.publish)
app.command()(decide.decide)
app.command()(evaluate.evaluate)
app.command("unsubscribe-link")(unsubscribe.link)
app.command()(rules.rules)
app.command()(history.history)
app.command()(void.void)
app.command()(prove.prove)
app.command()(verify.verify)
app.command()(erase.erase)
app.add_typer(register.app, name="register")
app.add_typer(imports.app, name="import")
app.add_typer(inbound.app, name="inbound")
app.add_typer(campaign.app, name="campaign")
app.add_typer(topics.app, name="topics")
app.add_typer(witness.app, name="witness")
app.add_typer(keys.app, name="keys")
app.add_typer(log.app, name="log")
app.add_typer(consumers.app, name="consumers")
app.add_typer(postfix.app, name="postfix")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(requests.app, name="requests")
app.add_typer(retention.app, name="retention")
app.command()(reconcile.reconcile)
app.command()(propagation.propagation)
app.command()(schema.migrate)
app.command()(doctor.doctor)

if __name__ == "__main__":
    app()
