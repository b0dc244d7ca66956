"""Sound and phones: reading, augmentation, synthesis with exact phone times, alphabets."""
