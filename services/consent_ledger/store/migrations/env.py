"""What Alembic runs: the connection comes from `migrate()`, the statements from the scripts."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="migration",
    # Scripts set their own search path, so this table needs its schema by name.
    version_table_schema="public",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
