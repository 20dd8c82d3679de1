"""Who may see what: people, sessions, API keys, login links, and the permission each act needs."""
