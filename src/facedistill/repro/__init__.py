"""What reproduces and publishes: notebooks, checks of a run, releases, the web demo, pages."""
