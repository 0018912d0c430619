"""Grafana's dashboards as code. The JSON beside each is made of it: python -m dashboards.write"""
