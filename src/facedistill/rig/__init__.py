"""The face's controls: ARKit's 52 curves, meshes as principal components, and the head that they are measured on."""
