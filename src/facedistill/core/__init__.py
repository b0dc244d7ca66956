"""The ground everything stands on: errors, files, paths, parameters and the manifest."""
