"""Node functions that several recipes share."""
