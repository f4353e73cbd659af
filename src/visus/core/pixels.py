"""What a number in a map of classes may mean, for its readers, its annotation, its losses and its metrics alike."""

from __future__ import annotations

IGNORE = 255
"""What stands, in a map of classes, for a pixel of which nothing is said: from the reader to the loss to the metric."""

MOST_SEVERAL = 63
"""Classes of which a pixel may show several, at most: each is a bit."""
