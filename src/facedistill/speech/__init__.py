"""Audio: reading, synthesis with exact phone times, corpora and augmentation."""
