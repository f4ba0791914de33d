"""A Diagnosis rendered: JSON document, Markdown, self-contained HTML, and the terminal."""
