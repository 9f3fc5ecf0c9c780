"""A process that hosts some of an app: services, store, transport and mesh, wired by hand.

Whoever only names an app does not import what runs one: `app` is apart from `node`.
"""
