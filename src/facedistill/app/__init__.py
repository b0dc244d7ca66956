"""What users run: curves of recordings and of the microphone, films, facts and costs of models."""
