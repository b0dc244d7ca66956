"""The face: ARKit curves, phones and how they move the mouth, and a procedural head to measure on."""
