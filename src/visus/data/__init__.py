"""From files to batches: the formats, the doors for images and paths, and the feed.  Importing it loads no torch."""
