"""What asks whether it works: methods by name, other agents, searches, the released code, diagnosis, tables."""
