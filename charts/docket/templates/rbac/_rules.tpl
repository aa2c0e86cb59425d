{{/* What the operator may do in a namespace that it serves. The same rules make the ClusterRole and the Roles. */}}
{{- define "docket.operatorRules" -}}
{{- $children := list "get" "list" "watch" "create" "patch" "delete" -}}
- apiGroups: [docket.dev]
  resources: [agentpools, pipelines]
  verbs: [get, list, watch, patch]
- apiGroups: [docket.dev]
  resources: [agentpools/status, pipelines/status]
  verbs: [patch]
# What a pool or a pipeline is turned into.
- apiGroups: [apps]
  resources: [deployments]
  verbs: {{ toJson $children }}
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: {{ toJson $children }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: {{ toJson $children }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: {{ toJson $children }}
# Not watched: a cluster may not have the kind.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, create, patch, delete]
# The copies of the broker's and the store's credentials, the tokens of gateways and of metrics, and no other Secret. A create cannot be limited by name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [docket-nats{{ if .Values.payloads.secret }}, docket-payloads{{ end }}]
  verbs: [get, patch, delete]
{{- if not .Values.payloads.secret }}
# A copy of the time when there were credentials of a store is removed.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [docket-payloads]
  verbs: [get, delete]
{{- end }}
# Tokens are made once and then belong to whoever uses them.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [docket-gateway-tokens, docket-metrics]
  verbs: [get, delete]
# Whether a claim that a pool names is there, and meant for agents, and that for the state of gateways.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
# How agents stand, and the mark of those that are to go first when a pool shrinks.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
