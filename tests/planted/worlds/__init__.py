"""Small apps under load, each with what has to hold in it; correct as they stand, shared by several bugs."""
