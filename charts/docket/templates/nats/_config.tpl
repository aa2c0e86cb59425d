{{/* nats.conf. $NAMES are of the container's environment. */}}
{{- define "docket.natsConfig" -}}
server_name: $POD_NAME
listen: "0.0.0.0:4222"
# Without authentication: the kubelet's probes alone need it, and the NetworkPolicy lets nobody else.
http: "0.0.0.0:8222"
pid_file: "/run/nats/nats.pid"
lame_duck_grace_period: 5s
lame_duck_duration: 30s

jetstream: {
  # A server that was alone and joins others removes what they do not know, which is everything: the two never share a folder.
  store_dir: /data/{{ gt (int .Values.nats.replicas) 1 | ternary "cluster" "single" }}
  max_memory_store: 128Mi
  max_file_store: {{ div (mul 9 (include "docket.mebibytes" .Values.nats.storage.size | int64)) 10 }}Mi
  # What was acknowledged is on the disk: without it the last seconds are lost with a machine.
  sync_interval: always
}

{{ if eq (include "docket.natsMode" .) "Accounts" -}}
# Of the Secret with the keys, which the operator makes: whom the server trusts.
include "auth.conf"
{{- else -}}
authorization: {users: [{user: $NATS_USER, password: $NATS_PASSWORD}]}
{{- end }}
{{- if gt (int .Values.nats.replicas) 1 }}

cluster: {
  name: docket
  listen: "0.0.0.0:6222"
  authorization: {user: $NATS_USER, password: $NATS_PASSWORD, timeout: 5}
  routes: [$NATS_ROUTE_0, $NATS_ROUTE_1, $NATS_ROUTE_2]
}
{{- end }}
{{- end }}
