"""The methods that are compared, a file for each family; `registry` lists their names."""
