"""Explain images from a checkout: `python train.py [option=value ...]`; installed, the same program is `inr-xai`."""

from inr_xai.cli import main

if __name__ == "__main__":
    main()
