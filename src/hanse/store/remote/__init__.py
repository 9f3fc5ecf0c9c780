"""What the stores on servers share: whether the server can be reached, what commits come to, and who hears of them.

A store on a server is opened over a connection, makes what is missing, and then has a crew: one task that commits in
groups what waits, and one that hears of what other processes commit. What is said to the server is each store's own.
"""
