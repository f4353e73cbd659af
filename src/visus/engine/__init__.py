"""The loop and what it stands on: devices, state, optimisers, schedules, healing.  It knows the protocol, never the task."""
