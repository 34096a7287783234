"""Models, checkpoints, data sets and components under short names that a command line can hold."""
