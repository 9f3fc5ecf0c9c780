"""The store on MongoDB: a few collections for each service, shared by as many processes as there are.

`hanse.store.mongodb.store` holds the store itself; it needs the client of MongoDB, which is the extra `hanse[mongodb]`.
"""
