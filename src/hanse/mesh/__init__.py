"""Who answers a call, and what happens when nobody does: clients, server, and the decisions between."""
