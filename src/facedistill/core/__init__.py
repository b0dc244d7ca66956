"""The ground everything stands on: errors, files, paths, parameters and the manifest; and what sound is and may be."""

SAMPLE_RATE_HZ = 16_000  # of all sound in the pipeline and in the models
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
MAX_SAMPLE = 64.0  # 36 dB above full scale: numbers of 16-bit samples that are given as floats are beyond it
EXPECTED_SAMPLES = "expected floats within +-1, or 16-bit samples divided by 32768"
