"""Result rows of many runs as tables: Markdown, CSV, LaTeX and one HTML page."""
