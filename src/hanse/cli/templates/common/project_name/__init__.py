"""project-name: services on Hanse."""
