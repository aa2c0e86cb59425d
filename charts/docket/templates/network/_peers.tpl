{{/* Agents and gateways, wherever the operator makes them. */}}
{{- define "docket.agentPeers" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: docket
      app.kubernetes.io/managed-by: docket-operator
    matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: [agents, gateway]}
  {{- if eq .Values.scope "Namespaced" }}
  namespaceSelector:
    matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ include "docket.watchNamespaces" . }}}
  {{- else }}
  namespaceSelector: {}
  {{- end }}
{{- end }}

{{/* DNS, wherever it is: a service of the cluster, a cache on the node. Its pods listen on 5353 where 53 is not theirs to open, as
those of OpenShift. */}}
{{- define "docket.dnsEgress" -}}
- ports:
  {{- range list 53 5353 }}
  - {protocol: UDP, port: {{ . }}}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}

{{/* A rule to ports at any of some addresses: dict "ports" LIST "cidrs" LIST; without addresses, at any. */}}
{{- define "docket.addressEgress" -}}
- ports:
  {{- range .ports }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
  {{- with .cidrs }}
  to:
  {{- range . }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The ports of nats.url, as a list in JSON. */}}
{{- define "docket.natsPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.nats.url -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" (. | trim) | default ":4222" | trimPrefix ":" | int) -}}
{{- end -}}
{{ $ports | uniq | toJson }}
{{- end }}
