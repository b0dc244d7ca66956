"""`python -m facedistill`, as the stages of dvc.yaml call it."""

from facedistill.cli import main

if __name__ == "__main__":
    main()
