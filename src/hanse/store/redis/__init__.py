"""The store on Redis or Valkey: keys under one prefix for each service, shared by as many processes as there are."""

from hanse.store.redis.store import RedisStore
from hanse.store.redis.url import RedisUrl

__all__ = ["RedisStore", "RedisUrl"]
