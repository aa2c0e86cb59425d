{{/* Labels of an object of the chart: dict "root" $ "component" NAME. Names are fixed, as the operator and the agents know
them: one release a namespace. */}}
{{- define "docket.labels" -}}
{{ include "docket.selector" . }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/part-of: docket
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "docket.selector" -}}
app.kubernetes.io/name: docket
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Name and namespace of a namespaced object, with its labels: dict "root" $ "component" NAME "name" NAME. */}}
{{- define "docket.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "docket.labels" . | nindent 2 }}
{{- end }}

{{/* Name of a cluster-wide object, which says whose it is: several releases may share a cluster. */}}
{{- define "docket.clusterName" -}}
{{ .name }}-{{ .root.Release.Namespace }}
{{- end }}

{{/* Name and labels of a cluster-wide object: as docket.metadata. */}}
{{- define "docket.clusterMetadata" -}}
name: {{ include "docket.clusterName" . }}
labels:
  {{- include "docket.labels" . | nindent 2 }}
{{- end }}

{{/* An image reference: dict "root" $ "image" VALUES. */}}
{{- define "docket.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* The namespaces that a namespaced release serves, as a list in JSON. */}}
{{- define "docket.watchNamespaces" -}}
{{ .Values.watchNamespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{/* Namespaces whose gateways may review tokens, as a JSON array. */}}
{{- define "docket.tokenReviewNamespaces" -}}
{{ .Values.rbac.tokenReview.namespaces | default (include "docket.watchNamespaces" . | fromJsonArray) | toJson }}
{{- end }}

{{/* How NATS knows its clients. Servers of somebody else do not trust Docket's keys unless they are told to. */}}
{{- define "docket.natsMode" -}}
{{ .Values.nats.auth.mode | default (.Values.nats.enabled | ternary "Accounts" "Password") }}
{{- end }}

{{/* Name of the Secret with what NATS asks for: its keys, or user and password, or nothing. */}}
{{- define "docket.natsSecret" -}}
{{- if .Values.nats.auth.existingSecret -}}
{{ .Values.nats.auth.existingSecret }}
{{- else if eq (include "docket.natsMode" .) "Accounts" -}}
docket-nats-keys
{{- else if .Values.nats.enabled -}}
docket-nats-auth
{{- end -}}
{{- end }}

{{/* Name of the Secret with the token of those who may read the operator's metrics, which it makes itself. */}}
{{- define "docket.metricsSecret" -}}
{{ .Values.metrics.authentication | ternary "docket-operator-metrics" "" }}
{{- end }}

{{/* A quantity in Mi, Gi or Ti as a number of mebibytes. */}}
{{- define "docket.mebibytes" -}}
{{- $factor := get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) (regexFind "[MGT]i$" .) | int64 -}}
{{ mul (regexFind "^[0-9]+" . | int64) $factor }}
{{- end }}
