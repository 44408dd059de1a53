"""The whole evidence collection through the command, as an auditor would run it: `make corpus`."""
