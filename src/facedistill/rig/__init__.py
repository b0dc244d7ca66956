"""The face's controls: ARKit's 52 curves, meshes as principal components, and a procedural head to measure on."""
