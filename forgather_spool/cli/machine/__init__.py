"""This machine and its health: units, dispatcher, doctor, certificates, numbers."""
