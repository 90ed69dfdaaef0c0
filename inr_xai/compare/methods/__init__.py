"""The compared methods, one file a family; `registry` names them."""
