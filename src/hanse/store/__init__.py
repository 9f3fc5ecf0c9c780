"""Where rows and their changes are kept: the port, and an adapter a file."""
