"""When does the LLC track circuit formation? The toy model of superposition over many seeds, end to end."""
