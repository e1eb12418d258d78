"""The machinery of the simulated cluster: events in virtual time, one coroutine a strand."""
