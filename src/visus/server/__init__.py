"""A model over HTTP: requests become pictures, pictures become batches, and nothing that comes in can stop the rest."""
