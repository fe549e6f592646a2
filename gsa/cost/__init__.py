"""What running a profile costs on this machine: counts, and paces that are measured."""
