"""Did what a fault declares come about? Checks of its effects that its injector has no hand in."""
