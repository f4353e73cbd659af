"""What every room may import: samples, tasks, recipes, names, seeds, files and errors.  Importing it loads no torch."""
