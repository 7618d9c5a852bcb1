"""What the commands share: where output goes, the options of every command, and exit codes."""
