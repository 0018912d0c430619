"""Programs that the suite starts and does not contain, Prometheus and Chromium: found or obtained."""
