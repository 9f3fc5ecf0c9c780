"""Nothing is lost and nothing takes effect twice: the relay, the inbox, dead letters, schedules."""
