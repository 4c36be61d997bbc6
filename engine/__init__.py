"""whoelse: an email-automation engine that turns happy clients into introductions."""
