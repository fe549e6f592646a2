"""Layers, image networks and distributions; knows no reinforcement learning."""
