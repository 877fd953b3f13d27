"""What users do to runs and batches: signals, kills, full disks, damaged files."""
