"""Qt views and controls that know no paper; everything here runs on the GUI thread."""
