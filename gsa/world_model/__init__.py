"""The world model: RSSM, its loss (Eq. 1) and how well it predicts."""
