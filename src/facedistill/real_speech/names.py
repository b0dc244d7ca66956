"""Names that the steps share: files, kinds of systems, groups of recordings, metrics."""

INVENTORY, RESULTS, DETAILS = "inventory.json", "results.json", "details.json"
CURVES_FOLDER, QUIET = "curves", "quiet"
TEACHER, STUDENT, TORCH, ENVELOPE, PEER = KINDS = ("teacher", "student", "torch", "envelope", "peer")
TORCH_SUFFIX = "-torch"  # of a student before its export
DEGRADED_KINDS = (STUDENT, ENVELOPE)  # systems that are heard in every condition
MEAN, WEIGHTED = "mean", "weighted"  # all sources together: each alike, or by their /p b m/
METRICS = ("auc", "r", "pbm", "closure_lag_ms", "jitter", "jitter_silence")
LAGGED = ("auc", "r", "pbm")  # what depends on the lag
AT_LAG = "_at_lag"  # of the names of `LAGGED` at the fitted lag
