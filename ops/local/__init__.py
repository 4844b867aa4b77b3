"""Embedded services: a real Kafka broker and a real PostgreSQL on this machine, without Docker.

`ops.local.services.LocalServices` starts, reuses and stops them; `ops.local.choose.choose_services` decides between an
operator's own services, containers and these.
"""
