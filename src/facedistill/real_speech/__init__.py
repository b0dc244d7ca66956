"""The benchmark on recordings: any manifest with timed phones against any tool that moves a mouth.

Data flows one way: settings -> inventory (what is here) -> animate (curves) -> score (results) -> draw (table and figure).
Axis letters as in the package: S samples, T frames, K curves; R resamples, N utterances.
"""
