"""What a person sees of a calibration: its tables and its picture."""
