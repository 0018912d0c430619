"""Load workers that join from elsewhere: a master beside the conductor, workers, and what they say."""
