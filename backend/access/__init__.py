"""Who may do what: API keys, roles, rate limits, tickets for browsers, and the record of who did what."""
