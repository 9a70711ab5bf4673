"""SimGrid's platforms: their zones and clusters as graphs with routes, read and written."""
