"""Did a fault have the effects that it declares? Checks by evidence that its injector does not write."""
