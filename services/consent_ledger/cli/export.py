"""`consent export`: what others are handed, to keep and to check."""

import typer

app = typer.Typer(no_args_is_help=True, help="Hand out what others keep and check.")
