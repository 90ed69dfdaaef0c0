"""The checker of shapes and types that the tests put on every function; an int is a float, as type checkers have it."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
