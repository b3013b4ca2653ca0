"""Where people meet the product over HTTP: REST API, web pages, Slack's buttons, health and metrics.

Belongs here: reading the store for people, and carrying their votes to the workflow with a verified
identity. Does not: deciding anything. No page needs JavaScript, and nothing is loaded from elsewhere.
"""
