"""Who is there: a pure machine that finds, watches and forgets the members of a cluster by small datagrams."""
