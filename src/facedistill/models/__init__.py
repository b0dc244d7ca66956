"""Teacher and students: networks, losses, batches and the training loop."""
