"""Find or install the programs that the suite starts and does not contain, such as Prometheus."""
