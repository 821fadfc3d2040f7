"""What Alembic runs its revisions in: the connection, and the transaction, that ``store.migrations`` opened."""

from alembic import context

from store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    transactional_ddl=True,
    render_as_batch=True,
    compare_type=True,
    user_module_prefix="",
)
context.run_migrations()
