"""Simulated devices that speak the real protocol: a fleet to try a rollout, a broker or an access list on."""
