"""What the user calls, one file a verb; here data, task, engine and report come together."""
