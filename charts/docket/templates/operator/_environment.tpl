{{/* What the operator is told, each a flag of `docket-operator run` too. */}}
{{- define "docket.operatorEnvironment" -}}
DOCKET_AGENT_IMAGE: {{ include "docket.image" (dict "root" $ "image" .Values.image.agents) | quote }}
DOCKET_IMAGE_PULL_POLICY: {{ .Values.image.agents.pullPolicy }}
{{- with .Values.image.agents.pullSecrets }}
DOCKET_IMAGE_PULL_SECRETS: {{ join "," . | quote }}
{{- end }}
{{- /* Agents of other namespaces get the same address, so it names the namespace. */}}
DOCKET_NATS: {{ .Values.nats.enabled | ternary "nats://docket-nats.$(POD_NAMESPACE).svc:4222" .Values.nats.url | quote }}
DOCKET_NATS_REPLICAS: {{ .Values.nats.replicas | quote }}
{{- with include "docket.natsSecret" . }}
DOCKET_NATS_{{ eq (include "docket.natsMode" $) "Accounts" | ternary "KEYS" "CREDENTIALS" }}_SECRET: {{ . | quote }}
{{- end }}
DOCKET_PAYLOADS: {{ .Values.payloads.url | quote }}
{{- with .Values.payloads.secret }}
DOCKET_PAYLOADS_SECRET: {{ . | quote }}
{{- end }}
{{- if eq .Values.scope "Namespaced" }}
DOCKET_WATCH_NAMESPACES: {{ include "docket.watchNamespaces" . | fromJsonArray | join "," | quote }}
{{- end }}
DOCKET_MODELS_IN_IMAGE: {{ .Values.agents.modelsInImage | quote }}
{{- if not .Values.podSecurity.fixedIds }}
DOCKET_FIXED_IDS: "false"
{{- end }}
{{- if .Values.rbac.tokenReview.enabled }}
DOCKET_API_SERVER_PORTS: {{ join "," .Values.networkPolicy.apiServer.ports | quote }}
DOCKET_TOKEN_REVIEW: {{ include "docket.tokenReviewNamespaces" . | fromJsonArray | join "," | quote }}
{{- end }}
DOCKET_GATEWAY_REPLICAS: {{ .Values.gateway.replicas | quote }}
DOCKET_LEASE_NAME: docket-operator
DOCKET_HEALTH: 0.0.0.0:9090
{{- with include "docket.metricsSecret" . }}
DOCKET_METRICS_SECRET: {{ . | quote }}
DOCKET_METRICS_TOKEN_FILE: /etc/docket-metrics/token
{{- end }}
{{- with .Values.monitoring.podMonitor.labels }}
{{- $labels := list }}
{{- range $key, $value := . }}
{{- $labels = append $labels (printf "%s=%s" $key $value) }}
{{- end }}
DOCKET_POD_MONITOR_LABELS: {{ join "," $labels | quote }}
{{- end }}
DOCKET_POD_MONITOR_INTERVAL: {{ .Values.monitoring.podMonitor.interval | quote }}
{{- if .Values.keda.enabled }}
DOCKET_EXTERNAL_SCALER: 0.0.0.0:9091
{{- end }}
DOCKET_LOG_FORMAT: {{ .Values.operator.logFormat }}
RUST_LOG: {{ .Values.operator.log | quote }}
{{- end }}
