"""Brings a database to the schema of this version; the only module that changes tables."""

from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


async def migrate(database_url: str) -> None:
    """Apply every migration that the database lacks. The user must own the database and may create roles."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def run_script(migration: str) -> None:
    """Run the `.sql` file that lies beside a migration, all its statements in the migration's transaction."""
    script = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    # A script of several statements needs the simple query protocol, which SQLAlchemy's own execute() does not speak.
    raw = op.get_bind().connection.dbapi_connection
    raw.run_async(lambda driver: driver.execute(script))  # type: ignore[union-attr]
