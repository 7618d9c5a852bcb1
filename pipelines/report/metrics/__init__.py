"""Ray's metrics of a run, and a Grafana board of them and of the endpoint's."""
