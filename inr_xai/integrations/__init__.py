"""Adapters to other packages, which none of them needs to be imported for."""
