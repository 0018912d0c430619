"""Views of the history that several judges share. They judge nothing."""
