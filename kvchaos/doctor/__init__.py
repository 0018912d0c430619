"""What this machine must have to run the suite: checks by subject, each with the command that fixes it."""
