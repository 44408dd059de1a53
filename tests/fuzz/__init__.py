"""Coverage-guided fuzzing: one target for every parser that reads what a stranger wrote (`make fuzz`)."""
