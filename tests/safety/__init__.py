"""Nothing secret leaves, and nothing that somebody wrote steers."""
