"""The world in a box: any app as many machines in one process, in virtual time, with seeded schedules and faults."""
