"""Names of the spatial relations between two boxes; a label is a position in its tuple."""

HORIZONTAL_RELATIONS = ("left", "center", "right")
VERTICAL_RELATIONS = ("upper", "middle", "lower")
