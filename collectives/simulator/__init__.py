"""What a schedule costs on a topology: closed forms, phases, and events."""
