"""The command line: commands, config files, and explanations of mistakes."""
