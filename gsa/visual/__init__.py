"""Pictures people look at: videos, contact sheets, figures. Needs no torch."""
