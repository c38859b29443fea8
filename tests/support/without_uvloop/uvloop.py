"""First on the path, this is what a machine without uvloop looks like."""

raise ImportError("uvloop is not installed here")
