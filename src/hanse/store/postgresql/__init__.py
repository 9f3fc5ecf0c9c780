"""The store on PostgreSQL: a schema for each service, shared by as many processes as there are."""

from hanse.store.postgresql.store import PostgresqlStore
from hanse.store.postgresql.url import PostgresqlUrl

__all__ = ["PostgresqlStore", "PostgresqlUrl"]
