"""`python -m inr_xai` is `inr-xai`."""

from inr_xai.cli import main

if __name__ == "__main__":
    main()
