"""The head as an image: scene, shading, stills and films."""
