"""Files of the field in and out: Live Link Face, Audio2Face, BEAT, glTF and our own; curves always travel with their names."""
