"""What people and machines read of a run: summary, JUnit file, tables."""
