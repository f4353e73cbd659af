"""What a run tells people: one self-contained page, five lines on a terminal, and a model card."""
