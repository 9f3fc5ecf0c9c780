"""What carries out the platform's decisions: the edge, and the processes of a system."""
