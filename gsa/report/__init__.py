"""From the score files of finished runs to one page, tables and figures; runs without torch."""
