"""The loop and what it stands on: devices, state, optimisers, schedules, healing.  It knows only a task's protocol."""
